// A panel of rules: filters, order and pages in the address, rows that follow the rules and the spend.

import * as address from "./address.js";
import { call, canWrite, get } from "./api.js";
import { count, plural } from "./amounts.js";
import { confirmed, toast } from "./dialogs.js";
import { debounce, h, refill, show } from "./dom.js";
import { openRule } from "./rule_dialog.js";
import { ruleCells, ruleName } from "./rule_cells.js";

const PAGE_ROWS = 10;
const TYPING_MS = 250;
const DEFAULTS = { q: "", status: "", action: "", window: "", sort: "key", order: "asc", cursor: "" };
const FILTERS = ["q", "status", "action", "window"];
const DESCENDING_FIRST = new Set(["limit", "updated", "spend", "percent"]);

export class RulesPanel {
  // `columns`: [label, sort or null, class]; `empty` makes what stands in place of the rows when there are none at all.
  constructor({ collection, kind, columns, empty, onSaved }) {
    Object.assign(this, { collection, kind, columns, empty });
    this.onSaved = onSaved ?? (() => {});
    this.root = document.getElementById(collection);
    this.form = this.part("filters");
    this.state = address.read(collection, DEFAULTS);
    this.trail = [];
    this.asked = 0;
    this.listen();
    this.drawHead();
  }

  part(role) {
    return this.root.querySelector(`[data-role="${role}"]`);
  }

  listen() {
    const typed = debounce(() => this.filter(), TYPING_MS);
    this.form.addEventListener("input", typed);
    this.form.addEventListener("submit", (event) => { event.preventDefault(); this.filter(); });
    this.part("clear").addEventListener("click", () => { this.form.reset(); this.filter(); });
    this.part("new")?.addEventListener("click", () => this.create());
    addEventListener("popstate", () => { this.state = address.read(this.collection, DEFAULTS); this.trail = []; this.fillForm(); this.drawHead(); this.load(); });
    this.fillForm();
  }

  fillForm() {
    for (const field of FILTERS) this.form.elements[field].value = this.state[field];
  }

  filter() {
    const wanted = Object.fromEntries(FILTERS.map((field) => [field, this.form.elements[field].value.trim()]));
    this.go({ ...wanted, cursor: "" });
  }

  go(changes, { push = false } = {}) {
    if (changes.cursor === "") this.trail = [];
    this.state = { ...this.state, ...changes };
    address.write(this.collection, this.state, DEFAULTS, { push });
    this.drawHead();
    return this.load();
  }

  drawHead() {
    const { sort, order } = this.state;
    const heads = this.columns.map(([label, key, style]) => {
      if (key === null) return h("th", { scope: "col", class: style }, label);
      const sorted = key === sort ? (order === "asc" ? "ascending" : "descending") : null;
      return h("th", { scope: "col", class: style, "aria-sort": sorted },
        h("button", { type: "button", class: "sort", data: { focus: `sort-${key}` }, on: { click: () => this.sort(key) } }, label));
    });
    if (canWrite()) heads.push(h("th", { scope: "col", class: "right" }, h("span", { class: "visually-hidden" }, "Change")));
    const table = this.root.querySelector("table");
    if (table.tHead === null) table.append(h("thead"), h("tbody"));
    refill(table.tHead, [h("tr", null, heads)]);
  }

  sort(key) {
    const first = DESCENDING_FIRST.has(key) ? "desc" : "asc";
    const order = this.state.sort === key ? (this.state.order === "asc" ? "desc" : "asc") : first;
    this.go({ sort: key, order, cursor: "" });
  }

  // Loads what the state asks for; an answer that was overtaken by a newer question is dropped.
  async load() {
    const turn = ++this.asked;
    try {
      const page = await get(this.collection, { ...this.state, limit: PAGE_ROWS });
      if (turn === this.asked) this.draw(page);
    } catch (problem) {
      if (turn === this.asked) this.stale(problem);
    }
  }

  draw(page) {
    // The last row of the last page may be gone: there is still a first page.
    if (page.items.length === 0 && this.state.cursor !== "") return this.go({ cursor: "" });
    this.loadedAt = Date.now();
    const drawn = JSON.stringify([page.items, page.total, page.next_cursor, this.state]);
    // What looks the same is left alone: a selection, an open tooltip, a press under way.
    if (drawn === this.drawn) return undefined;
    Object.assign(this, { drawn, page });
    const isFiltered = FILTERS.some((field) => this.state[field] !== "");
    this.part("clear").hidden = !isFiltered;
    this.part("export").href = `/api/v1/${this.collection}.csv?${new URLSearchParams(FILTERS.filter((field) => this.state[field]).map((field) => [field, this.state[field]]))}`;
    this.root.querySelector(".count").textContent = count(page.total);
    const isEmpty = page.items.length === 0;
    this.root.querySelector(".table-wrap").hidden = isEmpty;
    this.part("filters").hidden = isEmpty && !isFiltered;
    refill(this.root.querySelector("tbody"), page.items.map((row) => this.row(row)));
    show(this.part("empty"), ...(isEmpty ? [isFiltered ? this.nothingFound() : this.empty(this)] : []));
    return this.drawFoot();
  }

  nothingFound() {
    return h("div", { class: "empty" }, h("h3", null, "Nothing matches these filters"),
      h("div", { class: "row" }, h("button", { type: "button", class: "button", on: { click: () => { this.form.reset(); this.filter(); } } }, "Clear filters")));
  }

  drawFoot() {
    const { items, total, next_cursor: next } = this.page;
    const parts = [h("span", null, items.length === total ? plural(total, "rule") : `${count(items.length)} of ${plural(total, "rule")}`), h("span", { class: "spacer" })];
    if (this.state.cursor !== "") parts.push(this.turn("First page", () => this.go({ cursor: "" }, { push: true })));
    if (this.trail.length > 1) parts.push(this.turn("Previous", () => { this.trail.pop(); this.go({ cursor: this.trail.at(-1) }, { push: true }); }));
    if (next) parts.push(this.turn("Next page", () => { if (!this.trail.length) this.trail.push(this.state.cursor); this.trail.push(next); this.go({ cursor: next }, { push: true }); }));
    refill(this.part("foot"), parts);
    this.part("foot").hidden = total === 0;
  }

  turn(label, act) {
    return h("button", { type: "button", class: "button small", data: { focus: label }, on: { click: act } }, label);
  }

  row(row) {
    const cells = ruleCells(this.kind, row).map((cell, index) => {
      const [label, , style] = this.columns[index];
      return h("td", { class: `${style} ${cell.style ?? ""}`, data: { label } }, h("div", null, cell.content));
    });
    if (canWrite()) cells.push(h("td", { class: "actions", data: { label: "" } }, this.buttons(row)));
    return h("tr", { class: row.state === "active" ? null : "off", data: { id: row.id } }, cells);
  }

  buttons(row) {
    const isOff = row.status === "disabled";
    const button = (label, act) => h("button", {
      type: "button", class: "button quiet small", "aria-label": `${label} ${ruleName(row)}`,
      data: { focus: `${label}-${row.id}` }, on: { click: act } }, label);
    return [
      button("Edit", () => this.edit(row)),
      isOff ? button("Enable", () => this.setStatus(row, "active")) : button("Disable", () => this.setStatus(row, "disabled")),
      button("Delete", () => this.remove(row)),
    ];
  }

  saved(text) {
    toast(text);
    this.onSaved();
    return this.load();
  }

  async create(key = "") {
    const rule = await openRule({ kind: this.kind, collection: this.collection, key });
    if (rule) this.saved(`Saved. Sidecars follow with revision ${rule.revision}.`);
  }

  async edit(row) {
    const rule = await openRule({ kind: this.kind, collection: this.collection, row });
    if (rule) this.saved(`Saved. Sidecars follow with revision ${rule.revision}.`);
  }

  async setStatus(row, status) {
    const verb = status === "active" ? "Enable" : "Disable";
    const text = status === "active" ? "It acts again from the next call." : "It is skipped from the next call on: nothing is warned or blocked because of it.";
    const done = await confirmed({
      title: [`${verb} the `, ruleName(row), "?"].join(""), text: h("p", { class: "muted" }, text), confirm: verb, danger: status === "disabled",
      act: async (note) => {
        const { data, etag } = await call("GET", `${this.collection}/${row.id}`);
        await call("PUT", `${this.collection}/${row.id}`, { etag, body: { ...ruleDocument(data), status, change_note: note } });
      },
    });
    if (done) this.saved(`${verb}d the ${ruleName(row)}.`);
  }

  async remove(row) {
    const consequence = this.kind === "user_override" ? "The templates apply to this user again." : "Users of this tier have no limit from it any more.";
    const done = await confirmed({
      title: `Delete the ${ruleName(row)}?`,
      text: h("p", { class: "muted" }, consequence, " What was spent stays counted. The audit trail keeps the rule."),
      confirm: "Delete", danger: true,
      act: (note) => call("DELETE", `${this.collection}/${row.id}`, { etag: `"${row.revision}"`, params: { change_note: note } }),
    });
    if (done) this.saved(`Deleted the ${ruleName(row)}.`);
  }

  stale(problem) {
    this.drawn = null;
    const age = this.loadedAt ? ` What is shown is ${Math.round((Date.now() - this.loadedAt) / 1000)} s old.` : "";
    refill(this.part("foot"), [h("span", { class: "state lost" }, `${problem.message}${age}`), h("span", { class: "spacer" }), this.turn("Try again", () => this.load())]);
    this.part("foot").hidden = false;
  }
}

const DOCUMENT_FIELDS = ["key", "limit_usd", "window", "action", "alert_thresholds_pct", "status", "timezone", "week_start", "on_store_failure", "on_unpriced", "wait_for_replica", "expires_at", "note"];

// The document of a rule as it is; what it takes from the workspace or its action it goes on taking from there.
export function ruleDocument(row) {
  const own = DOCUMENT_FIELDS.filter((field) => field === "limit_usd" || (row[field] !== null && row[field] !== undefined && row[field] !== ""));
  return Object.fromEntries(own.filter((field) => !(row.inherited ?? []).includes(field)).map((field) => [field, row[field]]));
}

