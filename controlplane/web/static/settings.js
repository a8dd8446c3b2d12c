// The workspace's settings: mode, plan, calendar, and what becomes of holds that nobody settles.

import { plural } from "./amounts.js";
import { call, canWrite } from "./api.js";
import { confirmed, toast } from "./dialogs.js";
import { byId, h, name, show } from "./dom.js";
import { changeSettings, startFrame } from "./frame.js";
import { moment } from "./times.js";
import { startWebhooks } from "./webhooks.js";

const FIELDS = ["plan", "timezone", "week_start", "on_expiry", "estimate"];
const form = byId("settings-form");
let stored = null;
let etag = null;

async function load() {
  try {
    const answer = await call("GET", "settings");
    stored = answer.data;
    etag = answer.etag;
    for (const key of FIELDS) form.elements[key].value = stored[key];
    byId("prices").replaceChildren(...priceFacts(stored));
    show(byId("settings-fault"));
  } catch (problem) {
    show(byId("settings-fault"), problem.message);
  }
}

async function save(event) {
  event.preventDefault();
  const changes = Object.fromEntries(FIELDS.map((key) => [key, form.elements[key].value.trim()]).filter(([key, value]) => value !== stored[key]));
  if (Object.keys(changes).length === 0) return toast("Nothing is changed.");
  const lines = consequences(changes);
  const done = await confirmed({
    title: "Change the workspace's settings?", text: lines.map((line) => h("p", null, line)), confirm: "Save settings", danger: "plan" in changes && changes.plan !== "growth",
    act: (note) => changeSettings(changes, note, etag),
  });
  if (done) toast("Saved. Sidecars follow within a second.");
  if (done && "plan" in changes) return location.reload();
  return done ? load() : undefined;
}

function priceFacts({ prices, price_version: version, prices_built_at: built }) {
  if (!prices) return ["There are none: calls that tell tokens follow the rules' setting for models without a price."];
  return [h("strong", null, plural(prices, "price")), ", version ", name(version), ...(built ? [", built ", moment(built)] : [])];
}

function consequences(changes) {
  const lines = [];
  if (changes.plan) lines.push(changes.plan === "growth" ? "Rules act from the next call on." : "Below Growth no rule warns or blocks, and rules cannot be changed. Calls are still counted.");
  if (changes.timezone || changes.week_start) lines.push("Days, weeks and months of every rule without a calendar of its own begin at other moments from now on.");
  if (changes.on_expiry) lines.push(changes.on_expiry === "charge" ? "Holds that expire are charged at their estimate." : "Holds that expire are given back.");
  if (changes.estimate) lines.push("Reserves that do not know their output are held for another amount from now on.");
  return lines;
}

startFrame();
startWebhooks();
if (!canWrite()) for (const element of form.elements) element.disabled = true;
form.addEventListener("submit", save);
load();
