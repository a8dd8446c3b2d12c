// The modal that makes or changes a rule. A rule that changed meanwhile is told, field by field, never overwritten.

import { call } from "./api.js";
import { limitText } from "./amounts.js";
import { byId, h, name, show } from "./dom.js";
import { moment } from "./times.js";
import { ACTIONS, windowName } from "./words.js";

const TITLES = { tier_template: "template", user_override: "override" };
const LABELS = {
  key: "Name", limit_usd: "Spend limit", window: "Window", action: "Action", alert_thresholds_pct: "Alert threshold", status: "Status",
  timezone: "Time zone", week_start: "Week start", on_store_failure: "If Redis does not answer", on_unpriced: "Without a price",
  expires_at: "Ends", note: "Note",
};
const AMOUNT_FIELDS = { on_store_failure: "allow_up_to_usd", on_unpriced: "charge_usd" };
const NEW = { limit_usd: "", window: "month", action: "warn", alert_thresholds_pct: [80], status: "active", timezone: "", week_start: "", on_store_failure: "", on_unpriced: "", expires_at: "", note: "" };

const dialog = byId("rule-dialog");
const form = dialog?.querySelector("form");
const field = (key) => form.elements[key];

// Opens the modal; resolves to the rule as stored, or null when it was left.
export async function openRule({ kind, collection, row, key = "" }) {
  const editor = new Editor(kind, collection);
  if (row) await editor.loadRow(row);
  else editor.fill({ ...NEW, key });
  return editor.run();
}

class Editor {
  constructor(kind, collection) {
    Object.assign(this, { kind, collection, stored: null, etag: undefined });
    show(byId("rule-conflict"));
    show(byId("rule-faults"));
    for (const element of form.elements) element.removeAttribute("aria-invalid");
  }

  // The row of the list may be old by now: the form starts from the rule as it is.
  async loadRow(row) {
    try {
      const { data, etag } = await call("GET", `${this.collection}/${encodeURIComponent(row.id)}`);
      this.adopt(data, etag);
    } catch (problem) {
      this.adopt(row, `"${row.revision}"`);
      show(byId("rule-faults"), problem.message);
    }
    this.fill(this.stored);
  }

  // What the rule takes from the workspace or its action is shown as that, and goes on following it after the edit.
  adopt(stored, etag) {
    const inherited = Object.fromEntries((stored.inherited ?? []).map((key) => [key, ""]));
    this.stored = { ...stored, ...inherited };
    this.before = stored;
    this.etag = etag ?? `"${stored.revision}"`;
  }

  fill(rule) {
    const isTier = this.kind === "tier_template";
    byId("rule-title").textContent = `${this.stored ? "Edit" : "New"} ${TITLES[this.kind]}`;
    byId("rule-key-label").textContent = isTier ? "Tier" : "User ID";
    byId("rule-key-hint").textContent = isTier
      ? "The label your app sends with each call, exactly. * is for users whose tier has no template."
      : "As your app sends it, exactly. This limit replaces every template for this user.";
    byId("rule-save").textContent = this.stored ? "Save changes" : `Create ${TITLES[this.kind]}`;
    byId("rule-change-field").hidden = !this.stored;
    field("key").value = rule.key;
    field("key").readOnly = this.stored !== null;
    field("unlimited").checked = rule.limit_usd === null;
    field("limit_usd").value = rule.limit_usd ?? "";
    field("window").value = rule.window;
    field("action").value = rule.action;
    field("thresholds").value = (rule.alert_thresholds_pct ?? []).join(", ");
    field("status").value = rule.status;
    field("timezone").value = rule.timezone ?? "";
    field("week_start").value = rule.week_start ?? "";
    field("expires_at").value = rule.expires_at ? new Date(rule.expires_at).toISOString().slice(0, 19) : "";
    field("note").value = rule.note ?? "";
    field("wait_for_replica").checked = rule.wait_for_replica ?? false;
    field("change_note").value = "";
    for (const policy of Object.keys(AMOUNT_FIELDS)) this.fillPolicy(policy, rule[policy]);
    form.querySelector("details").open = false;
    this.adapt();
  }

  fillPolicy(policy, value) {
    const isAmount = value !== null && typeof value === "object";
    field(policy).value = isAmount ? "amount" : value || "";
    field(`${policy}_usd`).value = isAmount ? value[AMOUNT_FIELDS[policy]] : "";
  }

  // Shows what belongs to the choices made: no limit without a number, an amount only where one is chosen.
  adapt() {
    const unlimited = field("unlimited").checked;
    field("limit_usd").disabled = unlimited;
    field("thresholds").disabled = unlimited;
    const zone = field("timezone").value.trim() || document.body.dataset.timezone;
    byId("rule-window-hint").textContent = `By the calendar of ${zone}.`;
    for (const policy of Object.keys(AMOUNT_FIELDS)) field(`${policy}_usd`).hidden = field(policy).value !== "amount";
  }

  document() {
    const body = {
      key: field("key").value,
      limit_usd: field("unlimited").checked ? null : decimal(field("limit_usd").value),
      window: field("window").value,
      action: field("action").value,
      alert_thresholds_pct: thresholdList(field("thresholds").value),
      status: field("status").value,
    };
    const optional = { timezone: field("timezone").value.trim(), week_start: field("week_start").value, note: field("note").value.trim(), change_note: field("change_note").value.trim() };
    for (const [key, value] of Object.entries(optional)) if (value !== "") body[key] = value;
    if (field("expires_at").value) body.expires_at = `${field("expires_at").value.padEnd(19, ":00").slice(0, 19)}Z`;
    if (field("wait_for_replica").checked) body.wait_for_replica = true;
    for (const [policy, amount] of Object.entries(AMOUNT_FIELDS)) {
      const choice = field(policy).value;
      if (choice) body[policy] = choice === "amount" ? { [amount]: decimal(field(`${policy}_usd`).value) } : choice;
    }
    return body;
  }

  run() {
    return new Promise((resolve) => {
      let saved = null;
      form.oninput = () => this.adapt();
      form.onsubmit = async (event) => {
        event.preventDefault();
        saved = await this.save();
        if (saved) dialog.close();
      };
      byId("rule-cancel").onclick = () => dialog.close();
      dialog.onclose = () => resolve(saved);
      dialog.showModal();
      (this.stored ? field("limit_usd") : field("key")).focus();
    });
  }

  async save() {
    const body = this.document();
    if (!this.stored && body.key === "") return this.refuse([["key", this.kind === "tier_template" ? "A tier is needed." : "A user ID is needed."]]);
    if (body.limit_usd === "") return this.refuse([["limit_usd", "A limit in US dollars is needed, or choose \u201cNo limit\u201d."]]);
    byId("rule-save").disabled = true;
    try {
      const path = this.stored ? `${this.collection}/${encodeURIComponent(this.stored.id)}` : this.collection;
      const { data } = await call(this.stored ? "PUT" : "POST", path, { body, etag: this.stored ? this.etag : undefined });
      return data;
    } catch (problem) {
      return this.explain(problem, body);
    } finally {
      byId("rule-save").disabled = false;
    }
  }

  explain(problem, body) {
    if (problem.status === 412 && problem.current) return this.conflict(problem.current, body);
    if (problem.status === 404 || problem.status === 412) return this.refuse([["", "This rule was deleted meanwhile. Copy what you need, and leave with Cancel."]]);
    const faults = problem.faults.length ? problem.faults.map((fault) => [lastName(fault.path), fault.message]) : [[problem.field ?? "", problem.message]];
    return this.refuse(faults);
  }

  refuse(faults) {
    for (const element of form.elements) element.removeAttribute("aria-invalid");
    const named = faults.map(([key, message]) => [FORM_NAMES[key] ?? key, message]);
    for (const [key] of named) if (key && field(key)?.setAttribute) field(key).setAttribute("aria-invalid", "true");
    const lines = faults.map(([key, message]) => h("li", null, LABELS[key] ? `${LABELS[key]}: ${message}` : message));
    show(byId("rule-faults"), h("ul", { class: "faults" }, lines));
    const first = named.map(([key]) => key && field(key)).find((element) => element?.focus);
    if (first?.closest("details")) form.querySelector("details").open = true;
    first?.focus();
    return null;
  }

  // Somebody else saved first: says who and what, and lets the operator choose between the two.
  conflict(current, mine) {
    const before = this.before;
    const theirs = Object.keys(LABELS).filter((key) => plain(current[key]) !== plain(before[key]));
    const lines = theirs.map((key) => h("li", null, `${LABELS[key]}: was ${shown(key, before[key])}, is now `, h("strong", null, shown(key, current[key])), key in mine || key === "limit_usd" ? `; yours: ${shown(key, mine[key])}` : ""));
    const keep = h("button", { type: "button", class: "button small", on: { click: () => { this.adopt(current); show(byId("rule-conflict")); form.requestSubmit(); } } }, "Save mine over it");
    const take = h("button", { type: "button", class: "button small", on: { click: () => { this.adopt(current); this.fill(this.stored); show(byId("rule-conflict")); field("limit_usd").focus(); } } }, "Take theirs");
    show(byId("rule-conflict"), h("div", null,
      h("p", null, h("strong", null, "This rule was changed while you were editing it"), " by ", name(current.updated_by || "somebody"), " ", moment(current.updated_at), ". Nothing was saved."),
      h("ul", null, lines), h("div", { class: "row" }, take, keep)));
    byId("rule-conflict").scrollIntoView({ block: "nearest" });
    take.focus();
    return null;
  }
}

const FORM_NAMES = { alert_thresholds_pct: "thresholds", alert_threshold_pct: "thresholds", allow_up_to_usd: "on_store_failure_usd", charge_usd: "on_unpriced_usd" };

const lastName = (path) => String(path ?? "").replace(/\[\d+\]$/, "").split(".").at(-1);

const decimal = (text) => text.trim().replace(/^\$/, "").replaceAll(",", "");

function thresholdList(text) {
  return text.split(/[,;\s]+/).filter(Boolean).map((part) => (/^\d+$/.test(part) ? Number(part) : part.replace(/%$/, ""))).map((part) => (typeof part === "string" && /^\d+$/.test(part) ? Number(part) : part));
}

const plain = (value) => JSON.stringify(value ?? null);

function shown(key, value) {
  if (key === "limit_usd") return limitText(value);
  if (key === "window") return windowName(value);
  if (key === "action") return ACTIONS[value] ?? String(value);
  if (key === "alert_thresholds_pct") return `${(value ?? []).join(", ") || "none"} %`;
  if (value === null || value === undefined || value === "") return "not set";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

export { LABELS, shown };
