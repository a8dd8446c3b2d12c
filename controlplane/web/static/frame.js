// What every page has: the bar at the top, the mode, the state of the sidecars and of the store.

import { plural } from "./amounts.js";
import { call, canWrite, get } from "./api.js";
import { startCopying, confirmed, toast } from "./dialogs.js";
import { byId, h, show } from "./dom.js";
import { remember, startTimes } from "./times.js";
import { MODES } from "./words.js";

const SIDECARS_MS = 10_000;
const SETTING_FIELDS = ["timezone", "week_start", "plan", "on_expiry", "mode", "estimate"];

export function startFrame({ isLive = false } = {}) {
  startTimes();
  startCopying();
  startTheme();
  startModeSwitch();
  byId("upgrade-button")?.addEventListener("click", upgrade);
  byId("sign-out")?.addEventListener("click", async () => { await call("DELETE", "session"); location.assign("/login"); });
  showMode();
  loadSidecars();
  if (!isLive) setInterval(loadSidecars, SIDECARS_MS);
}

function startTheme() {
  byId("theme-switch").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    remember("sg_theme", button.value);
    if (button.value) document.documentElement.dataset.theme = button.value;
    else delete document.documentElement.dataset.theme;
    for (const other of byId("theme-switch").children) other.setAttribute("aria-pressed", String(other === button));
  });
}

async function loadSidecars() {
  try {
    showSidecars(await get("sidecars"));
  } catch (problem) {
    showStore({ reachable: false, text: problem.message });
  }
}

// Whoever can list the sidecars has reached the store.
export function showSidecars({ current, total, revision, ...condition }) {
  showStore({ reachable: true });
  showCondition(condition);
  const chip = byId("sidecars-chip");
  chip.hidden = false;
  chip.className = `chip dot ${total === 0 ? "" : current === total ? "green" : "amber"}`;
  chip.textContent = total === 0 ? "No sidecar yet" : `${current} of ${plural(total, "sidecar")} on revision ${revision}`;
}

// What an operator must not miss: decisions that were made without Redis, and by whom.
function showCondition({ breaker_open: open = 0, store_trouble: trouble = 0, recovering = 0, degraded_lately: lately = 0 }) {
  const link = h("a", { href: "/sidecars" }, "Sidecars");
  const told = open ? [`${plural(open, "sidecar")} cannot reach Redis now. There each rule's own setting decides, and answers say \u201cdegraded\u201d. `, link]
    : recovering ? [`${plural(recovering, "sidecar")} still ${recovering === 1 ? "brings" : "bring"} back what Redis lost. Until then figures are too low, and each rule's own setting decides. `, link]
    : trouble ? [`${plural(trouble, "sidecar")} had operations that Redis did not answer. `, link]
    : lately ? [`Redis is reached again. Within the last 10 minutes ${plural(lately, "sidecar")} decided calls without it. `, link] : null;
  show(byId("sidecars-notice"), ...(told ? [h("p", null, told)] : []));
}

export function showStore({ reachable, text }) {
  const lost = text ?? "Redis does not answer the control plane. What is shown is old; sidecars decide by each rule's own setting until it is back.";
  show(byId("store-notice"), ...(reachable ? [] : [h("p", null, lost)]));
}

// Tells of a change of the rules made elsewhere: the mode at once; another plan is another page.
export async function followSettings() {
  const settings = await get("settings").catch(() => null);
  if (settings === null) return;
  if (settings.plan !== document.body.dataset.plan) location.reload();
  document.body.dataset.mode = settings.mode;
  showMode();
}

export function showMode() {
  const { mode } = document.body.dataset;
  for (const button of byId("mode-switch")?.children ?? []) button.setAttribute("aria-pressed", String(button.value === mode));
  const notice = byId("mode-notice");
  if (!notice) return;
  notice.className = `notice ${mode === "stop" ? "red" : "blue"}`;
  show(notice, ...(mode === "enforce" ? [] : [h("p", null, h("strong", null, mode === "stop" ? "Everything is stopped. " : "Observing only. "), MODES[mode][1])]));
}

function startModeSwitch() {
  byId("mode-switch")?.addEventListener("click", async (event) => {
    const mode = event.target.closest("button")?.value;
    if (!mode || mode === document.body.dataset.mode || !canWrite()) return;
    const [label, effect] = MODES[mode];
    const done = await confirmed({
      title: mode === "stop" ? "Stop every call?" : mode === "observe" ? "Only observe?" : "Enforce the rules?",
      text: [h("p", null, effect), h("p", { class: "muted" }, "Every connected sidecar follows within a second.")],
      confirm: label, danger: mode === "stop", act: (note) => changeSettings({ mode }, note),
    });
    if (!done) return;
    document.body.dataset.mode = mode;
    showMode();
    toast(`The workspace is set to \u201c${label}\u201d.`);
  });
}

// Changes some settings and leaves the others as they are now; `etag` of an older look makes a conflict visible.
export async function changeSettings(changes, note, etag) {
  const now = await call("GET", "settings");
  const kept = Object.fromEntries(SETTING_FIELDS.filter((key) => key in now.data).map((key) => [key, now.data[key]]));
  return call("PUT", "settings", { etag: etag ?? now.etag, body: { ...kept, ...changes, change_note: note } });
}

async function upgrade() {
  const done = await confirmed({
    title: "Upgrade this workspace to Growth?",
    text: h("p", null, "Your rules act from the next call on. Rules set to Block will refuse calls over their limit."),
    confirm: "Upgrade to Growth", act: (note) => changeSettings({ plan: "growth" }, note),
  });
  if (done) location.reload();
}
