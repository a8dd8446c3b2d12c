// Spend by group, model or tier over the last days, sorted and searched by the control plane; models without a price.

import * as address from "./address.js";
import { count, plural, usd } from "./amounts.js";
import { get, url } from "./api.js";
import { byId, debounce, h, name, refill, show } from "./dom.js";
import { emptyState } from "./first_call.js";
import { startFrame } from "./frame.js";
import { moment } from "./times.js";
import { chip } from "./words.js";

const REFRESH_MS = 10_000;
const TYPING_MS = 300;
const PAGE_ROWS = 50;
const MAX_ROWS = 200;
const UNPRICED_ROWS = 20;
const DEFAULTS = { by: "group", days: "30", q: "", sort: "cost", order: "desc" };
const TITLES = { group: "By group", model: "By model", tier: "By tier" };
const HEADS = [["Name", "", "name"], ["Calls", "right", "calls"], ["Input tokens", "right", ""], ["Output tokens", "right", ""], ["Cost", "right", "cost"], ["Average a call", "right", "average"], ["Share of cost", "spend", ""]];
const UNPRICED_HEADS = [["Model", ""], ["Calls without a price", "right"], ["Charged for them", "right"]];
const KINDS = { none: "Calls that named none", other: "Names beyond the first 1,000 of a day", adjusted: "Credits and corrections by operators" };

let state = address.read("spend", DEFAULTS);
let rows = PAGE_ROWS;
let asked = 0;

async function load() {
  const turn = ++asked;
  const { by, days, q, sort, order } = state;
  try {
    const [page, unpriced] = await Promise.all([
      get("breakdown", { by, days, q, sort, order, limit: rows }), get("breakdown", { by: "model", days, unpriced: "true", sort: "calls", limit: UNPRICED_ROWS })]);
    if (turn !== asked) return;
    draw(page);
    drawUnpriced(unpriced);
    show(byId("spend-fault"));
  } catch (problem) {
    if (turn === asked) show(byId("spend-fault"), problem.message);
  }
}

function draw(page) {
  const { sum } = page;
  show(byId("spend-span"), `${state.days === "1" ? "Today" : `The last ${state.days} days`} in ${page.timezone}, since `, moment(page.from, { exact: true }), ".");
  byId("spend-sum").replaceChildren(
    figure(usd(sum.cost_usd), "spent"), figure(count(sum.calls), sum.calls === 1 ? "call" : "calls"),
    figure(count(sum.input_tokens), "input tokens"), figure(count(sum.output_tokens), "output tokens"));
  const table = h("table", { class: "cards", "aria-labelledby": "spend-title" }, h("thead", null, h("tr", null, HEADS.map(heading))), h("tbody", null, page.items.map(row)));
  const nothing = state.q ? emptyState("No name matches", "Nothing that was charged in these days is called so.") : emptyState("Nothing was charged in these days",
    "Send group, tier and a usage with each check or settle, or point the endpoint of LLM Cost Tracker's SDK at the sidecar: what was used is added up here.");
  refill(byId("spend-table"), [page.items.length ? h("div", { class: "table-wrap" }, table) : nothing]);
  const more = page.total - page.items.length;
  show(byId("spend-foot"), ...(page.items.length ? [h("span", null, `${plural(page.total, "row")}; as of `, moment(page.at)), ...moreRows(more)] : []));
}

function moreRows(more) {
  if (more <= 0) return [];
  if (rows >= MAX_ROWS) return [h("span", { class: "muted" }, `${count(more)} more: search, or export all`)];
  return [h("button", { type: "button", class: "button small", data: { focus: "more" }, on: { click: () => { rows = MAX_ROWS; load(); } } }, "Show more")];
}

function heading([label, style, sort]) {
  const isSorted = sort !== "" && state.sort === sort;
  const content = sort === "" ? label : h("button", { type: "button", class: "sort", data: { focus: `sort-${sort}` }, on: { click: () => order(sort) } }, label);
  return h("th", { scope: "col", class: style, "aria-sort": isSorted ? (state.order === "asc" ? "ascending" : "descending") : null }, content);
}

function order(sort) {
  const first = sort === "name" ? "asc" : "desc";
  const turned = state.order === "asc" ? "desc" : "asc";
  go({ sort, order: state.sort === sort ? turned : first });
}

const figure = (value, words) => h("div", { class: "card" }, h("p", { class: "figure" }, value), h("p", { class: "small muted" }, words));

function nameCell(item) {
  const shown = item.kind === "named" ? name(item.name) : h("span", { class: "muted" }, item.name);
  const unpriced = item.unpriced_calls > 0 && state.by !== "model" ? ` \u00b7 ${plural(item.unpriced_calls, "call")} without a price` : "";
  const sub = `${KINDS[item.kind] ?? ""}${unpriced}`.replace(/^ \u00b7 /, "");
  return [shown, item.unpriced_calls > 0 && state.by === "model" ? [" ", chip("Unpriced", "amber")] : null, sub ? h("span", { class: "sub" }, sub) : null];
}

function row(item) {
  const share = item.share_pct === null ? "\u2013" : h("span", { class: "share" }, h("span", null, `${item.share_pct} %`), h("meter", { min: 0, max: 100, value: item.share_pct, "aria-label": `${item.name}: share of the cost` }));
  const cells = [[nameCell(item), "id"], [count(item.calls), "right"], [count(item.input_tokens), "right"], [count(item.output_tokens), "right"],
    [h("strong", null, usd(item.cost_usd)), "right"], [item.average_cost_usd === null ? "\u2013" : usd(item.average_cost_usd), "right"], [share, "spend"]];
  return h("tr", null, cells.map(([content, style], index) => h("td", { class: style, data: { label: HEADS[index][0] } }, h("div", null, content))));
}

function drawUnpriced(page) {
  byId("unpriced").hidden = page.total === 0;
  if (page.total === 0) return;
  const lines = page.items.map((item) => {
    const cells = [[item.kind === "named" ? name(item.name) : item.name, "id"], [count(item.unpriced_calls), "right"], [usd(item.unpriced_usd), "right"]];
    return h("tr", null, cells.map(([content, style], index) => h("td", { class: style, data: { label: UNPRICED_HEADS[index][0] } }, h("div", null, content))));
  });
  const heads = UNPRICED_HEADS.map(([label, style]) => h("th", { scope: "col", class: style }, label));
  const table = h("table", { class: "cards", "aria-labelledby": "unpriced-title" }, h("thead", null, h("tr", null, heads)), h("tbody", null, lines));
  refill(byId("unpriced-table"), [h("div", { class: "table-wrap" }, table)]);
}

function go(changes) {
  state = { ...state, ...changes };
  rows = PAGE_ROWS;
  address.write("spend", state, DEFAULTS);
  fillForm();
  load();
}

function fillForm() {
  const form = byId("spend-filters");
  const days = form.elements.days;
  if (![...days.options].some((option) => option.value === state.days)) state.days = DEFAULTS.days;
  if (!(state.by in TITLES)) state.by = DEFAULTS.by;
  days.value = state.days;
  byId("spend-title").textContent = TITLES[state.by];
  if (form.elements.q.value.trim() !== state.q) form.elements.q.value = state.q;
  for (const button of byId("spend-by").children) button.setAttribute("aria-pressed", String(button.value === state.by));
  byId("spend-export").href = url("breakdown.csv", { by: state.by, days: state.days });
}

startFrame();
fillForm();
byId("spend-by").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) go({ by: button.value });
});
byId("spend-filters").addEventListener("submit", (event) => event.preventDefault());
byId("spend-filters").addEventListener("input", debounce(() => {
  const { q, days } = byId("spend-filters").elements;
  go({ q: q.value.trim(), days: days.value });
}, TYPING_MS));
addEventListener("popstate", () => { state = address.read("spend", DEFAULTS); fillForm(); load(); });
load();
setInterval(() => { if (!document.hidden) load(); }, REFRESH_MS);
