// Trades a token for a session.

import { call } from "./api.js";
import { byId, show } from "./dom.js";

// Only an address of this server: never where a link from elsewhere would lead. The whole address is taken, for a path
// that begins with two slashes (as of "/.//elsewhere") would be one of another server.
function target() {
  const wanted = new URLSearchParams(location.search).get("next") ?? "/";
  const next = URL.canParse(wanted, location.origin) ? new URL(wanted, location.origin) : new URL("/", location.origin);
  return next.origin === location.origin && next.pathname !== "/login" ? next.href : "/";
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
