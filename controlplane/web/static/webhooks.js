// Who is told of what, how far behind each webhook is, and a test message.

import { count } from "./amounts.js";
import { call, canWrite, get } from "./api.js";
import { toast } from "./dialogs.js";
import { byId, h, name, refill, show } from "./dom.js";
import { emptyState } from "./first_call.js";
import { moment } from "./times.js";
import { chip } from "./words.js";

const REFRESH_MS = 5000;
const HEADS = ["Webhook", "Goes to", "Is told of", "Waiting", "Delivered", "State", ""];

async function load() {
  try {
    draw((await get("webhooks")).items);
    show(byId("webhooks-fault"));
  } catch (problem) {
    show(byId("webhooks-fault"), problem.message);
  }
}

function draw(items) {
  const table = h("table", { class: "cards", "aria-labelledby": "webhooks-title" },
    h("thead", null, h("tr", null, HEADS.map((label) => h("th", { scope: "col" }, label || h("span", { class: "visually-hidden" }, "Actions"))))),
    h("tbody", null, items.map(row)));
  refill(byId("webhooks"), items.length ? [h("div", { class: "table-wrap" }, table)] : [emptyState("Nobody is told yet",
    "Name a Slack channel or an address of your own in a file, and start the control plane with it.", { heading: "h3" })]);
}

function row(item) {
  const waiting = item.lag_events + item.pending_events;
  const test = canWrite() ? h("button", { class: "button small", type: "button", on: { click: () => sendTest(item.name) }, "aria-label": `Send a test to ${item.name}` }, "Send a test") : "";
  const cells = [
    [name(item.name), "id"], [[name(item.host), h("span", { class: "sub" }, `${item.format === "slack" ? "Slack" : "JSON"}, ${item.signed ? "signed" : "not signed"}`)], ""],
    [item.events.map((word) => word.replaceAll("_", " ")).join(", "), ""], [`${count(waiting)} events`, ""],
    [[count(item.delivered), item.last_delivery_at ? h("span", { class: "sub" }, moment(item.last_delivery_at)) : ""], ""],
    [item.failing_since ? [chip("Failing", "red", true), h("span", { class: "sub" }, item.last_error ?? "")] : chip("Working", "green", true), ""],
    [test, ""],
  ];
  return h("tr", null, cells.map(([content, style], index) => h("td", { class: style, data: { label: HEADS[index] } }, h("div", null, content))));
}

async function sendTest(webhook) {
  try {
    await call("POST", `webhooks/${encodeURIComponent(webhook)}/test`);
    toast(`${webhook} has taken the test message.`);
  } catch (problem) {
    toast(problem.message);
  }
  await load();
}

export function startWebhooks() {
  load();
  setInterval(() => { if (!document.hidden) load(); }, REFRESH_MS);
}
