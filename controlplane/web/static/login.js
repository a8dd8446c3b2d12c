// Trades a token for a session.

import { call } from "./api.js";
import { byId, show } from "./dom.js";

// Only a path of this server: never where a link from elsewhere would lead.
function target() {
  const next = new URL(new URLSearchParams(location.search).get("next") ?? "/", location.origin);
  return next.origin === location.origin && next.pathname !== "/login" ? next.pathname + next.search : "/";
}

byId("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  byId("login-button").disabled = true;
  try {
    const name = byId("login-name").value.trim();
    await call("POST", "session", { body: { token: byId("login-token").value.trim(), ...(name ? { name } : {}) } });
    location.replace(target());
  } catch (problem) {
    show(byId("login-fault"), problem.status === 401 ? "This token is wrong." : problem.message);
    byId("login-token").select();
  } finally {
    byId("login-button").disabled = false;
  }
});
