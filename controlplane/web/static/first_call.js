// What stands in a panel that has nothing to show yet: why, what to do, and a call to copy.

import { canWrite } from "./api.js";
import { h } from "./dom.js";

const CHECK = `curl -s http://127.0.0.1:8787/v1/check -H 'Content-Type: application/json' \\
  -d '{"user_id": "user-42", "tier": "free", "cost_usd": 0.25}'`;

export function firstCall(label) {
  return h("div", { class: "code" }, h("pre", { tabindex: "0", role: "region", "aria-label": label }, CHECK), h("button", { type: "button", class: "button small", "data-copy": true }, "Copy"));
}

export function emptyState(title, text, { action, act, code = false, heading = "h3" } = {}) {
  return h("div", { class: "empty" }, h(heading, null, title), h("p", null, text),
    action && canWrite() ? h("div", { class: "row" }, h("button", { type: "button", class: "button primary", on: { click: act } }, action)) : null,
    code ? firstCall(code) : null);
}
