// One event of the log as a row; what else is known of it opens below.

import { exactText, exactUsd, isZero, limitText, percentText, usd } from "./amounts.js";
import { h, name } from "./dom.js";
import { userLink } from "./rule_cells.js";
import { exactTime, moment } from "./times.js";
import { eventChip, reasonText, windowName } from "./words.js";

export const COLUMNS = [
  ["Time", ""], ["User ID", ""], ["Action", ""], ["Spend at time", "right"], ["Limit", "right"], ["Window", ""], ["Tier", ""], ["Reason", ""], ["Model", ""],
];

export function logRow(event, { fresh = false } = {}) {
  const row = h("tr", { class: fresh ? "fresh" : null, data: { id: event.id } });
  const time = h("button", { type: "button", class: "expand", "aria-expanded": "false", title: exactTime(event.at), on: { click: () => toggle(row, time, event) } }, moment(event.at));
  const cells = [
    [time, "nowrap"], [userLink(event.user_id), "id"], [eventChip(event.type), ""], [spend(event), "right"],
    [limit(event), "right"], [windowCell(event), ""], [event.tier ? name(event.tier) : dash(), "name"],
    [reasonText(event.reason) || dash(), ""], [event.model ? name(event.model) : dash(), "name"],
  ];
  row.append(...cells.map(([content, style], index) => h("td", { class: style, data: { label: COLUMNS[index][0] } }, h("div", null, content))));
  return row;
}

const dash = () => h("span", { class: "muted" }, "\u2013");

function spend(event) {
  if (event.spend_usd === null) return dash();
  const held = isZero(event.held_usd) ? null : h("span", { class: "sub" }, `${usd(event.held_usd)} held`);
  return [h("span", { title: exactText(event.spend_usd) }, usd(event.spend_usd)), held];
}

function limit(event) {
  if (event.spend_usd === null) return dash();
  const share = event.percent === null ? null : h("span", { class: "sub" }, percentText(event.percent));
  return [h("span", null, limitText(event.limit_usd)), share];
}

function windowCell(event) {
  if (!event.window) return dash();
  return [windowName(event.window), h("span", { class: "sub" }, moment(event.resets_at, { before: Date.parse(event.resets_at) > Date.now() ? "resets " : "ended " }))];
}

function toggle(row, button, event) {
  const open = row.nextElementSibling?.classList.contains("details");
  button.setAttribute("aria-expanded", String(!open));
  if (open) row.nextElementSibling.remove();
  else row.after(h("tr", { class: "details" }, h("td", { colspan: COLUMNS.length, class: "whole" }, facts(event))));
}

function facts(event) {
  const meta = event.meta === null ? null : typeof event.meta === "string" ? event.meta : JSON.stringify(event.meta);
  const lines = [
    ["Exact time", moment(event.at, { exact: true })],
    ["Amount of the call", `$${exactUsd(event.amount_usd)}`],
    ["Request", name(event.request_id)],
    ["Rule", event.rule_id ? name(event.rule_id) : "none"],
    ["Window", event.window ? [moment(event.window_start, { exact: true }), " to ", moment(event.resets_at, { exact: true })] : "none"],
    ["Each rule", event.outcomes?.length > 1 ? event.outcomes.map((each) => `${each.rule_id}: ${reasonText(each.outcome)}`).join("; ") : null],
    ["Sent along", meta ? h("code", null, name(meta)) : null],
  ];
  return h("dl", { class: "facts" }, lines.filter(([, content]) => content !== null).map(([label, content]) => [h("dt", null, label), h("dd", null, content)]));
}
