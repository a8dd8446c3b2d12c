// One user: budgets now, spend by day, which rules apply and why, open holds, the log of this user, corrections.

import { exactText, limitText, plural, count, isZero, usd } from "./amounts.js";
import { call, canWrite, get, userApi } from "./api.js";
import { daysChart, daysTable } from "./chart.js";
import { byId, gathered, h, name, refill, show } from "./dom.js";
import { toast } from "./dialogs.js";
import { emptyState } from "./first_call.js";
import { followSettings, showSidecars, showStore, startFrame } from "./frame.js";
import { LogPanel } from "./log.js";
import { budget } from "./rule_cells.js";
import { moment } from "./times.js";
import { KINDS, actionChip, chip, skippedText, windowName, windowNow } from "./words.js";

const REFRESH_MS = 5000;
const AFTER_EVENT_MS = 800;
const SOURCES = { query: "asked for", hold: "from an open hold", event: "from the newest event" };

const userId = byId("user").dataset.user;
let adjustmentId = "";

async function load() {
  try {
    draw(await get(userApi(userId)));
    show(byId("user-fault"));
  } catch (problem) {
    show(byId("user-fault"), problem.message);
  }
}

async function loadDays() {
  const days = await get(userApi(userId, "/days"), { days: 35 }).catch(() => null);
  if (days === null) return;
  refill(byId("days-chart"), [daysChart(days.items)]);
  refill(byId("days-table"), [daysTable(days.items)]);
  byId("days-zone").textContent = `By the calendar of ${days.timezone}`;
}

function draw(user) {
  const tier = user.tier === null ? "No tier known yet" : ["Tier ", name(user.tier), h("span", { class: "muted" }, ` (${SOURCES[user.tier_source] ?? user.tier_source})`)];
  byId("user-tier").replaceChildren(...[tier].flat());
  refill(byId("windows"), user.windows.map(windowCard));
  refill(byId("budgets"), user.budgets.length ? user.budgets.map(budgetCard) : [h("li", { class: "muted" }, "No rule limits this user. Calls are allowed, and counted.")]);
  refill(byId("why"), whyLines(user));
  drawHolds(user.holds);
}

function windowCard(window) {
  return h("div", { class: "card" }, h("h2", null, `Spent ${windowNow(window.window)}`),
    h("p", { class: "figure", title: exactText(window.spend_usd) }, usd(window.spend_usd)),
    h("p", { class: "small muted" }, plural(window.calls, "call"), isZero(window.held_usd) ? "" : `, ${usd(window.held_usd)} held`, ", ", moment(window.resets_at, { before: "resets " })));
}

function budgetCard(entry) {
  const acts = entry.acts_as && entry.acts_as !== entry.action ? [" ", chip(`acts as ${entry.acts_as.replace("_", " ")} now`, "blue")] : [];
  return h("li", null,
    h("p", null, h("strong", null, `${windowName(entry.window)} limit ${limitText(entry.limit_usd)}`), " ", actionChip(entry.action), acts, " ",
      h("span", { class: "muted small" }, `${KINDS[entry.rule_kind]} for `, name(entry.key))),
    h("div", null, budget(entry)),
    entry.expires_at ? h("p", { class: "small muted" }, "temporary, ", moment(entry.expires_at, { before: "ends " })) : null,
    entry.seeded ? h("p", { class: "small muted" }, "This time zone is new for the user: it started from the workspace's own counter.") : null);
}

function whyLines(user) {
  const lines = user.rules.map((rule) => h("li", null, chip("Applies", "green", true), " ", ruleWords(rule)));
  lines.push(...user.skipped.map((entry) => h("li", null, chip("Skipped", "", true), " ", ruleWords(entry.rule), `, because ${skippedText(entry.why)}`)));
  if (lines.length === 0) lines.push(h("li", { class: "muted" }, "No rule names this user or tier, and there is no template for every other tier."));
  return lines;
}

const ruleWords = (rule) => [`${limitText(rule.limit_usd)} a ${rule.window}, ${KINDS[rule.kind]} for `, name(rule.key)];

function drawHolds(holds) {
  byId("holds-count").textContent = count(holds.total);
  const heads = ["Request", "Amount", "Model", "Reserved", "Expires"].map((label) => h("th", { scope: "col" }, label));
  const rows = holds.items.map((hold) => {
    const cells = [["Request", name(hold.request_id)], ["Amount", h("span", { class: "number" }, usd(hold.amount_usd))], ["Model", hold.model ? name(hold.model) : "\u2013"],
      ["Reserved", moment(hold.reserved_at)], ["Expires", [moment(hold.expires_at), hold.overdue ? [" ", chip("Overdue", "amber")] : null]]];
    return h("tr", null, cells.map(([label, content]) => h("td", { data: { label } }, h("div", null, content))));
  });
  refill(byId("holds"), rows.length ? [h("div", { class: "table-wrap", tabindex: "0", role: "region", "aria-label": "Holds" }, h("table", { class: "cards", "aria-labelledby": "holds-title" }, h("thead", null, h("tr", null, heads)), h("tbody", null, rows)))]
    : [h("p", { class: "panel-body muted" }, "No call is open: nothing is held.")]);
}

function startAdjusting() {
  const dialog = byId("adjust-dialog");
  const form = dialog.querySelector("form");
  byId("adjust")?.addEventListener("click", () => {
    form.reset();
    adjustmentId = `page-${crypto.randomUUID()}`;
    show(byId("adjust-fault"));
    dialog.showModal();
    byId("adjust-usd").focus();
  });
  byId("adjust-cancel").addEventListener("click", () => dialog.close());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const amount = form.elements.usd.value.trim().replace(/^\$/, "").replaceAll(",", "");
    const usdText = form.elements.direction.value === "credit" ? `-${amount}` : amount;
    const tier = form.elements.tier.value;
    byId("adjust-ok").disabled = true;
    try {
      // The same id for each attempt from one opened dialog: pressing twice, or again after a lost answer, counts once.
      await call("POST", userApi(userId, "/adjust"), { body: { request_id: adjustmentId, usd: usdText, note: form.elements.note.value, ...(tier ? { tier } : {}) } });
      dialog.close();
      toast("Adjusted. The audit trail is the log: it keeps the amount, the note and who did it.");
      load();
      loadDays();
    } catch (problem) {
      show(byId("adjust-fault"), problem.message);
      if (problem.status !== 0 && problem.status < 500) adjustmentId = `page-${crypto.randomUUID()}`;
    } finally {
      byId("adjust-ok").disabled = false;
    }
  });
}

startFrame({ isLive: true });
if (canWrite()) startAdjusting();
const soon = gathered(() => { load(); loadDays(); }, AFTER_EVENT_MS);
new LogPanel({
  userId,
  empty: () => emptyState("Nothing was warned, blocked or tried for this user", "Their events appear here the moment they happen."),
  on: { enforcement: soon, rules: () => { load(); followSettings(); }, sidecars: showSidecars, store: showStore },
}).load();
load();
loadDays();
setInterval(() => { if (!document.hidden) load(); }, REFRESH_MS);
