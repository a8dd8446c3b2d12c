// Spend by day as bars, in SVG of our own; the same numbers stand in a table for those who do not see bars.

import { count, exactText, usd } from "./amounts.js";
import { h, svg } from "./dom.js";

const WIDTH = 760;
const HEIGHT = 190;
const LEFT = 58;
const BOTTOM = 22;
const TOP = 10;
const STEPS = 4;
const LABEL_EVERY = 7;

export function daysChart(days) {
  const spends = days.map((day) => Number(day.spend_usd));
  const top = roundUp(Math.max(...spends, 0));
  const plotHeight = HEIGHT - BOTTOM - TOP;
  const slot = (WIDTH - LEFT) / days.length;
  const yOf = (value) => TOP + plotHeight * (1 - (top ? value / top : 0));
  const lines = Array.from({ length: STEPS + 1 }, (_, step) => {
    const value = (top * step) / STEPS;
    return [svg("line", { class: "grid-line", x1: LEFT, x2: WIDTH, y1: yOf(value), y2: yOf(value) }),
      svg("text", { x: LEFT - 8, y: yOf(value) + 4, "text-anchor": "end" }, usd(value))];
  });
  const bars = days.map((day, index) => {
    const height = spends[index] ? Math.max(1.5, plotHeight * (spends[index] / (top || 1))) : 0;
    return svg("rect", { class: "bar", x: LEFT + index * slot + slot * 0.14, y: HEIGHT - BOTTOM - height, width: slot * 0.72, height, rx: 2 },
      svg("title", null, `${day.day}: ${exactText(day.spend_usd)}, ${count(day.calls)} calls`));
  });
  const labels = days.map((day, index) => ((days.length - 1 - index) % LABEL_EVERY === 0
    ? svg("text", { x: Math.min(LEFT + index * slot + slot / 2, WIDTH - 16), y: HEIGHT - 5, "text-anchor": "middle" }, day.day.slice(5)) : null));
  const today = days.at(-1);
  const label = `Spend by day, ${days.length} days; today ${today ? usd(today.spend_usd) : "nothing"}. The table below has every day.`;
  return svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label }, lines, bars, labels);
}

// The next of 1, 2, 4, 5, 8, 10 times a power of ten, so that the lines stand at readable amounts.
function roundUp(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 4, 5, 8, 10].find((step) => step * power >= value);
}

export function daysTable(days) {
  const heads = ["Day", "Spend", "Calls"].map((label) => h("th", { scope: "col", class: label === "Day" ? "" : "right" }, label));
  const rows = [...days].reverse().map((day) => h("tr", null, h("td", null, day.day), h("td", { class: "right", title: exactText(day.spend_usd) }, usd(day.spend_usd)), h("td", { class: "right" }, count(day.calls))));
  return h("table", null, h("thead", null, h("tr", null, heads)), h("tbody", null, rows));
}
