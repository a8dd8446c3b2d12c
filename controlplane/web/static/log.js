// The enforcement log: newest first, live, bounded; older pages by cursor; paused and resumed without loss.

import * as address from "./address.js";
import { plural } from "./amounts.js";
import { get, serverNow } from "./api.js";
import { debounce, gathered, h, refill, show } from "./dom.js";
import { Live } from "./live.js";
import { COLUMNS, logRow } from "./log_rows.js";
import { moment } from "./times.js";

const PAGE_ROWS = 50;
export const MAX_ROWS = 200;
const FLUSH_MS = 80;
const TYPING_MS = 300;
const SINCE_MS = { "1h": 3_600_000, "24h": 86_400_000, "7d": 604_800_000 };
const DEFAULTS = { action: "blocked,warned,dry_run", type: "", q: "", user_id: "", tier: "", model: "", since: "", cursor: "" };
const TEXTS = ["type", "q", "user_id", "tier", "model", "since"];
const STATES = { live: "Live", lost: "Reconnecting", paused: "Paused", older: "Not live", polled: "Every 5 s" };

export class LogPanel {
  // `on`: handlers of the live connection for others: rules, sidecars, store, enforcement.
  constructor({ userId = "", empty, on = {} }) {
    Object.assign(this, { userId, empty, on, pending: [], held: [], missed: 0, paused: false, asked: 0, connection: "lost" });
    this.root = document.getElementById("log");
    this.form = this.part("filters");
    this.table = this.root.querySelector("table");
    this.table.append(h("thead", null, h("tr", null, COLUMNS.map(([label, style]) => h("th", { scope: "col", class: style }, label)))), h("tbody"));
    this.body = this.table.tBodies[0];
    this.state = address.read("log", DEFAULTS);
    this.flushSoon = gathered(() => this.flush(), FLUSH_MS);
    this.listen();
  }

  part(role) {
    return this.root.querySelector(`[data-role="${role}"]`);
  }

  listen() {
    const typed = debounce(() => this.filter(), TYPING_MS);
    this.form.addEventListener("input", typed);
    this.form.addEventListener("submit", (event) => { event.preventDefault(); this.filter(); });
    this.part("clear").addEventListener("click", () => this.clear());
    this.part("pause").addEventListener("click", () => this.togglePause());
    addEventListener("popstate", () => { this.state = address.read("log", DEFAULTS); this.fillForm(); this.load(); });
    this.fillForm();
  }

  fillForm() {
    const chosen = this.state.action.split(",");
    for (const box of this.form.querySelectorAll("[name=action]")) box.checked = chosen.includes(box.value);
    for (const key of TEXTS) if (this.form.elements[key]) this.form.elements[key].value = this.state[key];
  }

  filter() {
    const action = [...this.form.querySelectorAll("[name=action]:checked")].map((box) => box.value).join(",");
    const texts = Object.fromEntries(TEXTS.map((key) => [key, this.form.elements[key]?.value.trim() ?? ""]));
    this.go({ action, ...texts, cursor: "" });
  }

  clear() {
    this.go({ ...DEFAULTS });
    this.fillForm();
  }

  go(changes, options) {
    this.state = { ...this.state, ...changes };
    address.write("log", this.state, DEFAULTS, options);
    return this.load();
  }

  params() {
    const { action, type, q, tier, model, since } = this.state;
    const sinceMs = SINCE_MS[since];
    return {
      action: action === "" && type === "" ? "blocked,warned,dry_run" : action, type, q, tier, model,
      user_id: this.userId || this.state.user_id,
      since: sinceMs ? new Date(Math.floor((serverNow() - sinceMs) / 60_000) * 60_000).toISOString().replace(".000", "") : "",
    };
  }

  isFiltered() {
    return Object.keys(DEFAULTS).some((key) => key !== "cursor" && this.state[key] !== DEFAULTS[key]);
  }

  async load() {
    const turn = ++this.asked;
    const params = this.params();
    const { cursor } = this.state;
    const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value));
    this.part("export").href = `/api/v1/events.csv?${query}`;
    this.part("clear").hidden = !this.isFiltered();
    clearTimeout(this.retry);
    let page;
    try {
      page = await get("events", { ...params, cursor, limit: PAGE_ROWS });
    } catch (problem) {
      if (turn === this.asked) this.failed(problem);
      return;
    }
    if (turn !== this.asked) return;
    this.live?.close();
    this.live = null;
    Object.assign(this, { page, pending: [], held: [], missed: 0, paused: false, trimmed: false, gap: false });
    this.body.replaceChildren(...page.items.map((event) => logRow(event)));
    this.settle();
    this.follow(params, page.stream_cursor, turn);
  }

  failed(problem) {
    this.connection = "lost";
    this.drawState();
    show(this.part("foot"), h("span", null, problem.message));
    if (problem.status === 0 || problem.status >= 500) this.retry = setTimeout(() => this.load(), 3000);
  }

  // The live connection stays open on older pages too: rules, sidecars and the store are told through it.
  follow(params, cursor, turn) {
    if (!cursor) {
      this.connection = "polled";
      this.drawState();
      this.retry = setTimeout(() => { if (turn === this.asked && this.state.cursor === "" && !this.paused) this.load(); }, 5000);
      return;
    }
    this.live = new Live(params, cursor, {
      ...this.on,
      enforcement: (event) => { this.on.enforcement?.(event); this.take(event); },
      state: (state) => { this.connection = state; this.drawState(); },
      gap: () => { this.gap = true; this.drawFoot(); },
    });
  }

  take(event) {
    if (this.state.cursor !== "") return;
    const queue = this.paused ? this.held : this.pending;
    queue.push(event);
    // What would have been pushed out of the table by newer rows need not be kept to be pushed out.
    if (queue.length > MAX_ROWS) {
      queue.splice(0, queue.length - MAX_ROWS);
      this.trimmed = true;
    }
    if (!this.paused) return this.flushSoon();
    this.missed += 1;
    return this.drawState();
  }

  flush() {
    if (this.paused || this.pending.length === 0) return;
    const rows = this.pending.splice(0).reverse().map((event) => logRow(event, { fresh: true }));
    this.body.prepend(...rows);
    this.trim();
    this.settle();
  }

  trim() {
    const rows = this.body.querySelectorAll("tr[data-id]");
    if (rows.length <= MAX_ROWS) return;
    const last = rows[MAX_ROWS - 1];
    const keepAlso = last.nextElementSibling?.classList.contains("details") ? last.nextElementSibling : last;
    while (keepAlso.nextElementSibling) keepAlso.nextElementSibling.remove();
    this.trimmed = true;
  }

  togglePause() {
    if (this.state.cursor !== "") return this.go({ cursor: "" }, { push: true });
    this.paused = !this.paused;
    if (this.paused) {
      this.held = this.pending.splice(0);
      this.missed = this.held.length;
    } else {
      this.pending = this.held.splice(0);
      this.missed = 0;
      this.flush();
    }
    return this.drawState();
  }

  settle() {
    const isEmpty = this.body.children.length === 0;
    this.root.querySelector(".table-wrap").hidden = isEmpty;
    show(this.part("empty"), ...(isEmpty ? [this.isFiltered() ? this.nothingFound() : this.empty()] : []));
    this.drawState();
    this.drawFoot();
  }

  nothingFound() {
    return h("div", { class: "empty" }, h("h3", null, "Nothing in the log matches these filters"), h("p", null, "New events that match appear here by themselves."));
  }

  drawState() {
    const state = this.state.cursor !== "" ? "older" : this.paused ? "paused" : this.connection;
    const element = this.part("state");
    const text = STATES[state];
    if (element.textContent !== text) element.textContent = text;
    element.className = `state ${state === "older" ? "paused" : state === "polled" ? "live" : state}`;
    const button = this.part("pause");
    const label = state === "older" ? "Back to live" : this.paused ? (this.missed ? `Resume (${this.missed} new)` : "Resume") : "Pause";
    if (button.textContent !== label) button.textContent = label;
  }

  drawFoot() {
    const rows = this.body.querySelectorAll("tr[data-id]");
    const last = rows[rows.length - 1]?.dataset.id;
    const hasOlder = Boolean(this.page?.next_cursor) || this.trimmed;
    const cursor = this.trimmed || this.page?.items.length ? last : this.page?.next_cursor;
    const parts = [h("span", null, rows.length ? `${plural(rows.length, "event")} shown` : "No events shown")];
    if (this.page?.trimmed_before) parts.push(h("span", null, "The log goes back to ", moment(this.page.trimmed_before), "."));
    if (this.page?.scanned_to && rows.length < PAGE_ROWS && hasOlder) parts.push(h("span", null, "Searched back to ", moment(this.page.scanned_to), "."));
    if (this.gap) parts.push(h("span", { class: "state lost" }, "Some events were trimmed before they could be shown."));
    parts.push(h("span", { class: "spacer" }));
    if (hasOlder) parts.push(h("button", { type: "button", class: "button small", data: { focus: "older" }, on: { click: () => this.older(rows.length ? cursor : this.page.next_cursor) } }, rows.length ? "Older events" : "Search further back"));
    refill(this.part("foot"), parts);
  }

  older(cursor) {
    return this.go({ cursor }, { push: true });
  }
}
