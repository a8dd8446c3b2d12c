// Which sidecars run which revision, and who lags.

import { count, plural } from "./amounts.js";
import { get } from "./api.js";
import { byId, h, name, refill, show } from "./dom.js";
import { emptyState } from "./first_call.js";
import { showSidecars, startFrame } from "./frame.js";
import { moment } from "./times.js";
import { chip } from "./words.js";

const REFRESH_MS = 2000;
const HEADS = ["Sidecar", "Host", "Rules", "Redis", "Version", "Started", "Last seen"];
const SOURCES = { store: "follows the control plane", file: "from a file", push: "pushed to it" };
const STANDINGS = { current: ["Up to date", "green"], behind: ["Behind", "amber"], stale: ["Not heard of", "red"], own_rules: ["Own rules", "blue"] };

async function load() {
  try {
    const state = await get("sidecars");
    draw(state);
    showSidecars(state);
    show(byId("sidecars-fault"));
  } catch (problem) {
    show(byId("sidecars-fault"), problem.message);
  }
}

function draw({ items, revision, current, total, own_rules: ownRules, stale }) {
  const others = [ownRules ? `${count(ownRules)} with rules of their own` : "", stale ? `${count(stale)} not heard of for 15 s` : ""].filter(Boolean);
  byId("sidecars-sum").textContent = [`${count(current)} of ${count(total)} on revision ${count(revision)}`, ...others].join("; ");
  const rows = items.map(row);
  const table = h("table", { class: "cards", "aria-labelledby": "sidecars-title" }, h("thead", null, h("tr", null, HEADS.map((label) => h("th", { scope: "col" }, label)))), h("tbody", null, rows));
  refill(byId("sidecars"), rows.length ? [h("div", { class: "table-wrap" }, table)] : [emptyState("No sidecar has reported yet",
    "Start one beside your app with `spendgate sidecar`: it reports here within seconds, and follows the rules of this page.", { heading: "h2" })]);
}

function row(item) {
  const [words, colour] = STANDINGS[item.standing] ?? [item.standing, ""];
  const cells = [
    [name(item.id), "id"], [name(item.host ?? "\u2013"), ""],
    [[chip(words, colour, true), h("span", { class: "sub" }, `revision ${count(item.revision)}`, item.rules_source ? `, ${SOURCES[item.rules_source] ?? item.rules_source}` : "")], ""],
    [[store(item), decidedAlone(item)], ""], [name(item.version ?? "\u2013"), ""],
    [item.started_at ? moment(item.started_at) : "\u2013", ""], [item.seen_at ? moment(item.seen_at) : "\u2013", ""],
  ];
  return h("tr", null, cells.map(([content, style], index) => h("td", { class: style, data: { label: HEADS[index] } }, h("div", null, content))));
}

function store({ breaker_open: isOpen, recovering, store_ok: isWell }) {
  if (isOpen) return chip("Not reached", "red", true);
  if (recovering) return chip("Recovering", "amber", true);
  return isWell === false ? chip("Lost", "red", true) : chip("Reached", "green", true);
}

function decidedAlone({ degraded_decisions: decisions, degraded_at: last, journal_pending: pending }) {
  return [
    decisions ? h("span", { class: "sub" }, `${plural(decisions, "decision")} without it, the last `, moment(last)) : null,
    pending ? h("span", { class: "sub" }, `${plural(pending, "record")} to bring back`) : null,
  ];
}

startFrame({ isLive: true });
load();
setInterval(() => { if (!document.hidden) load(); }, REFRESH_MS);
