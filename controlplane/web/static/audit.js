// The audit trail: who changed which rule or setting, from what to what, when and why; and the way back.

import { count, plural } from "./amounts.js";
import { call, canWrite, get } from "./api.js";
import { confirmed, toast } from "./dialogs.js";
import { byId, h, name, refill, show } from "./dom.js";
import { emptyState } from "./first_call.js";
import { startFrame } from "./frame.js";
import { LABELS, shown } from "./rule_dialog.js";
import { moment } from "./times.js";
import { KINDS, chip } from "./words.js";

const PAGE_ENTRIES = 50;
const CHANGES_SHOWN = 5;
const NAMES = { edit: "Rules", import: "Import", restore: "Restore", settings: "Settings", prices: "Prices" };
const SETTINGS = { timezone: "Time zone", week_start: "Week start", plan: "Plan", on_expiry: "Expired holds", mode: "Mode", estimate: "Estimates" };

let next = null;
let newest = 0;

async function load(more = false) {
  try {
    const page = await get("audit", { limit: PAGE_ENTRIES, cursor: more ? next : null });
    next = page.next_cursor;
    newest = page.revision ?? page.items[0]?.revision ?? newest;
    const items = page.items.map(entry);
    if (more) byId("audit").append(...items);
    else refill(byId("audit"), items);
    byId("audit-more").hidden = !next;
    show(byId("audit-empty"), ...(byId("audit").children.length ? [] : [emptyState("Nothing was changed yet", "Each change of a rule or setting stands here, with who made it, when, and what it was before.", { heading: "h2" })]));
    show(byId("audit-fault"));
  } catch (problem) {
    show(byId("audit-fault"), problem.message);
  }
}

function entry(item) {
  const changes = item.changes ?? [];
  const counts = item.counts ?? {};
  const total = Object.values(counts).reduce((sum, number) => sum + Number(number), 0) || changes.length;
  const lines = changes.slice(0, CHANGES_SHOWN).map(changeLine);
  if (total > lines.length) lines.push(h("p", { class: "muted small" }, `and ${plural(total - lines.length, "more rule")}`));
  if (item.settings) lines.push(settingLines(item.settings));
  if (item.price_versions) lines.push(priceLine(item.price_versions));
  return h("li", null,
    h("div", { class: "row" }, h("strong", { class: "number" }, `Revision ${count(item.revision)}`), chip(NAMES[item.kind] ?? item.kind),
      h("span", { class: "muted" }, moment(item.at), " by ", name(item.actor || "somebody")), h("span", { class: "grow" }),
      canWrite() && item.revision < newest ? h("button", { type: "button", class: "button small", "aria-label": `Restore revision ${item.revision}`, on: { click: () => restore(item) } }, "Restore") : null),
    item.note ? h("p", null, "\u201c", name(item.note), "\u201d") : null,
    h("div", { class: "diff" }, lines));
}

function changeLine({ before, after }) {
  const rule = after ?? before;
  const what = [`${KINDS[rule.kind] ?? "rule"} for `, name(rule.key), ` (${rule.window})`];
  if (!before) return h("p", null, h("ins", null, "Added "), what, `: ${summary(after)}`);
  if (!after) return h("p", null, h("del", null, "Deleted "), what, `: ${summary(before)}`);
  const fields = Object.keys(LABELS).filter((key) => JSON.stringify(before[key] ?? null) !== JSON.stringify(after[key] ?? null));
  return h("p", null, "Changed ", what, ": ", fields.flatMap((key, index) => [index ? "; " : "", `${LABELS[key]} `, h("del", null, shown(key, before[key])), " \u2192 ", h("ins", null, shown(key, after[key]))]));
}

const summary = (rule) => `${shown("limit_usd", rule.limit_usd)} a ${rule.window}, ${shown("action", rule.action)}`;

function settingLines({ before, after }) {
  const fields = Object.keys({ ...before, ...after }).filter((key) => JSON.stringify(before?.[key]) !== JSON.stringify(after?.[key]));
  return h("p", null, fields.flatMap((key, index) => [index ? "; " : "", `${SETTINGS[key] ?? key} `, h("del", null, String(before?.[key] ?? "not set")), " \u2192 ", h("ins", null, String(after?.[key] ?? "not set"))]));
}

function priceLine({ before, after }) {
  return h("p", null, "Prices ", h("del", null, before || "none"), " \u2192 ", h("ins", null, after || "none"));
}

async function restore(item) {
  const done = await confirmed({
    title: `Restore the rules of revision ${item.revision}?`,
    text: h("p", { class: "muted" }, "All rules become what they were then, as a new revision. Nothing in the audit trail is lost, and this too can be taken back."),
    confirm: "Restore", danger: true,
    act: (note) => call("POST", "rules/restore", { body: { revision: item.revision, change_note: note } }),
  });
  if (!done) return;
  toast(`Restored revision ${item.revision}.`);
  load();
}

startFrame();
byId("audit-more").addEventListener("click", () => load(true));
load();
