// The words of the page for what the API calls by its codes.

import { h } from "./dom.js";

export const ACTIONS = { warn: "Warn", block: "Block", dry_run: "Dry run" };
const ACTION_COLOURS = { warn: "amber", block: "red", dry_run: "blue" };

export const EVENTS = {
  blocked: ["Blocked", "red"], warned: ["Warned", "amber"], dry_run: ["Dry run", "blue"], expired: ["Expired", ""],
  overrun: ["Overrun", "amber"], late_settle: ["Late settle", ""], reconstructed: ["Reconstructed", ""],
  unpriced: ["Unpriced", "amber"], unattributed: ["Unattributed", "amber"], adjusted: ["Adjusted", "green"],
  degraded: ["Allowed without the store", "amber"], voided: ["Undone", ""], erased: ["Erased", "green"],
  repaired: ["Repaired", "green"],
};

const REASONS = {
  limit: "over the limit", threshold: "alert threshold reached", held_capacity: "only holds in the way",
  stopped: "workspace stopped", unpriced: "no known price", store_unavailable: "Redis did not answer",
  overloaded: "overloaded", under_limit: "under the limit", no_rule: "no rule", unlimited: "unlimited", plan: "plan",
};

const SKIPPED = {
  disabled: "it is disabled", expired: "it has ended", overridden: "an override replaces it",
  tier_has_template: "the tier has a template of its own", plan: "the workspace's plan enforces nothing",
};

export const MODES = {
  enforce: ["Enforce", "Rules act as they are set."],
  observe: ["Observe", "Nothing is blocked: every block acts as a dry run."],
  stop: ["Stop all", "Every call is refused, whatever the rules say."],
};

export const KINDS = { tier_template: "template", user_override: "override" };

export const windowName = (window) => ({ day: "Day", week: "Week", month: "Month" })[window] ?? "\u2013";
export const windowNow = (window) => ({ day: "today", week: "this week", month: "this month" })[window] ?? "";
export const reasonText = (reason) => REASONS[reason] ?? String(reason ?? "").replaceAll("_", " ");
export const skippedText = (why) => SKIPPED[why] ?? String(why).replaceAll("_", " ");
export const chip = (text, colour = "", dot = false) => h("span", { class: `chip ${colour}${dot ? " dot" : ""}` }, text);
export const actionChip = (action) => chip(ACTIONS[action] ?? action, ACTION_COLOURS[action] ?? "");
export const eventChip = (type) => chip(...(EVENTS[type] ?? [String(type).replaceAll("_", " "), ""]), true);
