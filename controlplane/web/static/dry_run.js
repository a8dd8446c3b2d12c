// The dry-run report: what Block would have refused, before anyone switches to it.

import { count, limitText, plural, usd } from "./amounts.js";
import { call, canWrite, get } from "./api.js";
import { confirmed, toast } from "./dialogs.js";
import { byId, h, refill, show } from "./dom.js";
import { emptyState } from "./first_call.js";
import { startFrame } from "./frame.js";
import { tierName, userLink } from "./rule_cells.js";
import { ruleDocument } from "./rules_panel.js";
import { moment } from "./times.js";
import { KINDS, windowName } from "./words.js";

const REFRESH_MS = 10_000;
const PAGE_ROWS = 100;
const COLLECTIONS = { tier_template: "templates", user_override: "overrides" };
const HEADS = [["Rule", ""], ["Limit", "right"], ["Window", ""], ["Calls", "right"], ["Users", "right"], ["Would have blocked", "right"]];

async function load() {
  try {
    draw(await get("dry-run", { limit: PAGE_ROWS }));
    show(byId("dry-run-fault"));
  } catch (problem) {
    show(byId("dry-run-fault"), problem.message);
  }
}

function draw(report) {
  byId("dry-run-sum").replaceChildren(
    figure(usd(report.would_block_usd), "would not have been spent"), figure(count(report.calls), "calls would have been refused"),
    figure(count(report.total), report.total === 1 ? "rule on dry run" : "rules on dry run"));
  byId("dry-run-sum").hidden = report.total === 0;
  const heads = HEADS.map(([label, style]) => h("th", { scope: "col", class: style }, label));
  if (canWrite()) heads.push(h("th", { scope: "col" }, h("span", { class: "visually-hidden" }, "Change")));
  const table = h("table", { class: "cards", "aria-labelledby": "dry-run-title" }, h("thead", null, h("tr", null, heads)), h("tbody", null, report.items.map(row)));
  refill(byId("dry-run-table"), report.total ? [h("div", { class: "table-wrap" }, table)] : [emptyState("No rule is on dry run",
    "Set a rule's action to Dry run on the Enforcement page: calls go through, and this report counts the calls, users and dollars that Block would have refused in the current window.", { heading: "h2" })]);
  const more = report.total - report.items.length;
  show(byId("dry-run-foot"), ...(report.total ? [h("span", null, plural(report.items.length, "rule"), more > 0 ? ` of ${count(report.total)}, those with the largest amounts` : "", "; as of ", moment(report.at), report.complete ? "" : ". There are more rules than one report reads.")] : []));
}

const figure = (value, words) => h("div", { class: "card" }, h("p", { class: "figure" }, value), h("p", { class: "small muted" }, words));

function row(line) {
  const rule = line.kind === "user_override" ? userLink(line.key) : tierName(line.key);
  const cells = [
    [[rule, h("span", { class: "sub" }, line.action === "dry_run" ? KINDS[line.kind] : `${KINDS[line.kind]}, set to Block, only observed now`)], "id"], [limitText(line.limit_usd), "right"],
    [[windowName(line.window), h("span", { class: "sub" }, moment(line.resets_at, { before: "resets " }))], ""],
    [count(line.calls), "right"], [count(line.users), "right"], [h("strong", null, usd(line.would_block_usd)), "right"],
  ].map(([content, style], index) => h("td", { class: style, data: { label: HEADS[index][0] } }, h("div", null, content)));
  if (canWrite()) cells.push(h("td", { class: "actions" }, line.action === "dry_run" ? h("button", { type: "button", class: "button small", data: { focus: line.rule_id }, "aria-label": `Switch ${line.key} to Block`, on: { click: () => block(line) } }, "Switch to Block") : null));
  return h("tr", null, cells);
}

async function block(line) {
  const path = `${COLLECTIONS[line.kind]}/${line.rule_id}`;
  const done = await confirmed({
    title: `Block ${line.key} over its limit?`,
    text: [h("p", null, `In this window ${plural(line.calls, "call")} of ${plural(line.users, "user")} for ${usd(line.would_block_usd)} would have been refused.`),
      h("p", { class: "muted" }, "The app must handle a refusal: from the next call over the limit on, its users see one.")],
    confirm: "Switch to Block", danger: true,
    act: async (note) => {
      const { data, etag } = await call("GET", path);
      await call("PUT", path, { etag, body: { ...ruleDocument(data), action: "block", change_note: note } });
    },
  });
  if (!done) return;
  toast("Switched to Block.");
  load();
}

startFrame();
if (byId("dry-run-table")) {
  load();
  setInterval(() => { if (!document.hidden) load(); }, REFRESH_MS);
}
