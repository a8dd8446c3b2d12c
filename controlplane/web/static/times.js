// Shows moments: relative, with the exact time behind them, in UTC or the zone of this browser.

import { serverNow } from "./api.js";
import { byId, h } from "./dom.js";

const UNITS = [["y", 31_557_600], ["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
const TICK_MS = 5000;

export const inUtc = () => document.body.dataset.times !== "local";

function formatter(options) {
  return new Intl.DateTimeFormat("en-GB", { ...options, timeZone: inUtc() ? "UTC" : undefined, hour12: false });
}

export function exactTime(iso) {
  const date = new Date(iso);
  if (inUtc()) return `${date.toISOString().slice(0, 19).replace("T", " ")} UTC`;
  const parts = Object.fromEntries(
    formatter({ year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" })
      .formatToParts(date).map((part) => [part.type, part.value]));
  return `${parts.year}-${parts.month}-${parts.day} ${parts.hour}:${parts.minute}:${parts.second} ${parts.timeZoneName}`;
}

export function relativeTime(iso) {
  const seconds = (Date.parse(iso) - serverNow()) / 1000;
  const distance = Math.abs(seconds);
  if (distance < 5) return "just now";
  const [unit, size] = UNITS.find(([, length]) => distance >= length) ?? ["s", 1];
  const amount = `${Math.floor(distance / size)} ${unit}`;
  return seconds < 0 ? `${amount} ago` : `in ${amount}`;
}

export function moment(iso, { before = "", exact = false } = {}) {
  const element = h("time", { datetime: iso, data: { before, exact: exact ? "1" : "" } });
  refresh(element);
  return element;
}

function refresh(element) {
  const { before, exact } = element.dataset;
  const iso = element.getAttribute("datetime");
  const text = before + (exact ? exactTime(iso) : relativeTime(iso));
  if (element.textContent !== text) element.textContent = text;
  element.title = exact ? relativeTime(iso) : exactTime(iso);
}

const refreshAll = () => document.querySelectorAll("time[datetime]").forEach(refresh);

export function remember(name, value) {
  document.cookie = `${name}=${value}; Path=/; Max-Age=31536000; SameSite=Strict`;
}

export function startTimes() {
  byId("times-switch")?.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    document.body.dataset.times = button.value;
    remember("sg_times", button.value);
    for (const other of byId("times-switch").children) other.setAttribute("aria-pressed", String(other === button));
    refreshAll();
  });
  setInterval(refreshAll, TICK_MS);
}
