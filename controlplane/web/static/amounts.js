// Shows amounts, counts and shares. Amounts stay text: no arithmetic here, so nothing is lost on the way to the eye.

const NANO_DIGITS = 9;

// The exact decimal text of a JSON number or decimal string; a number below 2^23 has at most nine true decimals.
export function exactUsd(value) {
  const text = typeof value === "number" ? value.toFixed(NANO_DIGITS) : String(value);
  const sign = text.startsWith("-") ? "-" : "";
  const [whole, decimals = ""] = text.replace(/^-/, "").split(".");
  const kept = decimals.replace(/0+$/, "").padEnd(2, "0");
  return `${sign}${whole}.${kept}`;
}

const grouped = (whole) => whole.replace(/\B(?=(\d{3})+(?!\d))/g, ",");

// "$1,234.50": cents from $100, four decimals from $1, six below; cut off, never rounded up to a limit.
export function usd(value) {
  const exact = exactUsd(value);
  const sign = exact.startsWith("-") ? "\u2212" : "";
  const [whole, decimals] = exact.replace("-", "").split(".");
  const digits = whole.length > 2 ? 2 : whole === "0" ? 6 : 4;
  const shown = decimals.slice(0, digits).replace(/0+$/, "").padEnd(2, "0");
  if (whole === "0" && /^0+$/.test(shown) && /[1-9]/.test(decimals)) return `${sign}<$0.000001`;
  return `${sign}$${grouped(whole)}.${shown}`;
}

export const exactText = (value) => `$${exactUsd(value)}`;

export const limitText = (value) => (value === null || value === undefined ? "Unlimited" : usd(value));

export const count = (value) => Number(value ?? 0).toLocaleString("en-US");

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${Number(number) === 1 ? one : many}`;

export function percentText(percent) {
  if (percent === null || percent === undefined) return "";
  return `${percent < 10 ? Math.floor(percent * 10) / 10 : Math.floor(percent)} %`;
}

export const isZero = (value) => !value || Number(value) === 0;
