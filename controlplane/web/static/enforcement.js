// The Enforcement page: three panels that follow the rules, the spend and the log.

import { usd } from "./amounts.js";
import { canWrite, get } from "./api.js";
import { gathered, h, name, refill } from "./dom.js";
import { emptyState } from "./first_call.js";
import { followSettings, showSidecars, showStore, startFrame } from "./frame.js";
import { startImport } from "./import.js";
import { LogPanel } from "./log.js";
import { RulesPanel } from "./rules_panel.js";

const SPEND_MS = 5000;
const AFTER_EVENT_MS = 800;
const AFTER_CHANGE_MS = 150;
const SEEN_SHOWN = 12;

const columns = (first, spend) => [
  [first, "key", ""], ["Limit", "limit", "right"], ["Window", null, ""], ["Total spend (period)", "spend", spend],
  ["Total calls", null, "right"], ["Action", null, ""], ["Status", "updated", ""],
];

function startPanels() {
  const templates = new RulesPanel({
    collection: "templates", kind: "tier_template", columns: columns("Tier", "right"), onSaved: () => showSeen(templates),
    empty: (panel) => emptyState("No tier has a limit yet", "A template limits each user of a tier. Calls are counted from the first one on, with or without a limit.", { action: "+ New template", act: () => panel.create(), code: "A first call" }),
  });
  const overrides = new RulesPanel({
    collection: "overrides", kind: "user_override", columns: columns("User ID", "spend"),
    empty: (panel) => emptyState("No user has a limit of their own", "An override gives one user another limit than their tier: more for a good customer, less for a runaway script.", { action: "+ New override", act: () => panel.create() }),
  });
  const panels = [templates, overrides];
  const loadAll = () => { for (const panel of panels) panel.load(); showSeen(templates); };
  const spendSoon = gathered(loadAll, AFTER_EVENT_MS);
  const rulesSoon = gathered(() => { loadAll(); followSettings(); }, AFTER_CHANGE_MS);
  const log = new LogPanel({
    empty: () => emptyState("Nothing was warned, blocked or tried yet", "Decisions that warn, block or would have blocked appear here the moment they are made. Ask a sidecar for one:", { code: "A call to see in the log" }),
    on: { enforcement: spendSoon, rules: rulesSoon, sidecars: showSidecars, store: showStore },
  });
  startImport(() => overrides.saved("Imported."));
  loadAll();
  log.load();
  setInterval(() => { if (!document.hidden) loadAll(); }, SPEND_MS);
}

async function showSeen(templates) {
  const place = templates.part("seen");
  const found = await get("tiers", { has_template: "false", limit: SEEN_SHOWN }).catch(() => null);
  if (found === null) return;
  place.hidden = found.items.length === 0;
  const month = (tier) => tier.windows.find((window) => window.window === "month");
  const items = found.items.map((tier) => {
    const text = [name(tier.tier), h("span", { class: "number" }, ` ${usd(month(tier).spend_usd)} this month`)];
    const label = `New template for ${tier.tier}`;
    return h("li", null, canWrite()
      ? h("button", { type: "button", class: "chip", title: label, data: { focus: tier.tier }, on: { click: () => templates.create(tier.tier) } }, "+ ", text)
      : h("span", { class: "chip" }, text));
  });
  if (found.total > found.items.length) items.push(h("li", { class: "muted small" }, `and ${found.total - found.items.length} more`));
  refill(place.querySelector("ul"), items);
}

startFrame({ isLive: document.getElementById("log") !== null });
if (document.getElementById("log") !== null) startPanels();
