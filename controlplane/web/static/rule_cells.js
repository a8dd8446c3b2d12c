// What a rule's row says, cell by cell.

import { exactText, isZero, limitText, percentText, count, usd } from "./amounts.js";
import { userPage } from "./api.js";
import { h, name } from "./dom.js";
import { exactTime, moment } from "./times.js";
import { KINDS, actionChip, chip, windowName, windowNow } from "./words.js";

const NEAR_PERCENT = 80;
const FULL_PERCENT = 100;

export const ruleName = (row) => `${KINDS[row.kind] ?? "rule"} for ${row.key === "*" ? "every other tier" : row.key} (${row.window})`;

export function ruleCells(kind, row) {
  return [
    { content: kind === "user_override" ? userLink(row.key) : tierName(row.key), style: "id" },
    { content: [h("span", { title: row.limit_usd === null ? null : exactText(row.limit_usd) }, limitText(row.limit_usd)), thresholds(row)] },
    { content: [windowName(row.window), windowFacts(kind, row)] },
    { content: row.spend_usd === null ? unknown() : kind === "user_override" ? budget(row) : total(row) },
    { content: row.calls === null ? "\u2013" : count(row.calls) },
    { content: actionChip(row.action) },
    { content: standing(row), style: "status" },
  ];
}

export function tierName(key) {
  return key === "*" ? [name("*"), h("span", { class: "sub" }, "every tier without a template, and calls without a tier")] : name(key);
}

export function userLink(userId) {
  const page = userPage(userId);
  return page === null ? name(userId) : h("a", { href: page }, name(userId));
}

function thresholds(row) {
  const alerts = row.alert_thresholds_pct ?? [];
  if (row.limit_usd === null || alerts.length === 0) return h("span", { class: "sub" }, "no alert");
  return h("span", { class: "sub" }, `alert at ${alerts.join(", ")} %`);
}

// The reset stands beside the spend of an override; a calendar of the rule's own is said in either.
function windowFacts(kind, row) {
  const own = (row.inherited ?? ["timezone"]).includes("timezone") ? null : h("span", { class: "sub" }, row.timezone);
  return kind === "user_override" || !row.resets_at ? own : [h("span", { class: "sub" }, moment(row.resets_at, { before: "resets " })), own];
}

// The store did not answer: an old or invented number would be worse than none.
const unknown = () => h("span", { class: "muted" }, "not known now");

function total(row) {
  return [h("span", { title: exactText(row.spend_usd) }, usd(row.spend_usd)), h("span", { class: "sub" }, windowNow(row.window))];
}

// How full a budget is, as a bar and in words: "$8.20 of $10.00, resets in 3 h".
export function budget(row) {
  const held = isZero(row.held_usd) ? null : h("span", { class: "sub" }, `and ${usd(row.held_usd)} held for open calls`);
  if (row.limit_usd === null) {
    return [h("span", { title: exactText(row.spend_usd) }, `${usd(row.spend_usd)} ${windowNow(row.window)}`), h("span", { class: "sub" }, "no limit, ", moment(row.resets_at, { before: "resets " })), held];
  }
  const percent = row.percent ?? 0;
  const words = `${usd(row.spend_usd)} of ${usd(row.limit_usd)}`;
  return [
    h("div", { class: "share" }, meter(percent, `${words} spent, ${percentText(percent)}`), h("span", { class: "small" }, percentText(percent))),
    h("span", { title: `${exactText(row.spend_usd)} of ${exactText(row.limit_usd)}` }, h("span", { class: "number" }, words), h("span", { class: "muted small" }, ", ", moment(row.resets_at, { before: "resets " }))),
    held,
  ];
}

// The bar's colour says the same as its length: calm, near the limit, at or over it.
export function meter(percent, label) {
  const bounds = percent >= FULL_PERCENT ? { low: 1, high: 2, optimum: 0 } : percent >= NEAR_PERCENT ? { low: 1, high: 100, optimum: 0 } : { low: 0, high: 100, optimum: 50 };
  const value = Math.min(Math.max(percent, 0), FULL_PERCENT);
  return h("meter", { min: 0, max: 100, ...bounds, value, "aria-label": label });
}

export function standing(row) {
  const parts = [
    h("span", { title: `Changed ${exactTime(row.updated_at)} by ${row.updated_by || "somebody"}` },
      row.state === "disabled" ? chip("Disabled") : row.state === "expired" ? chip("Expired", "amber") : chip("Active", "green", true)),
  ];
  if (row.limit_usd === null && row.state === "active") parts.push(" ", chip("Unlimited"));
  if (row.expires_at && row.state === "active") parts.push(" ", chip("Temporary", "blue"));
  if (row.expires_at) parts.push(h("span", { class: "sub" }, row.state === "expired" ? moment(row.expires_at, { before: "ended " }) : moment(row.expires_at, { before: "ends " })));
  else if (!row.note && row.updated_at) parts.push(h("span", { class: "sub" }, moment(row.updated_at, { before: "changed " })));
  if (row.note) parts.push(h("span", { class: "sub", title: row.note }, name(row.note.length > 60 ? `${row.note.slice(0, 60)}\u2026` : row.note)));
  return parts;
}

