// Speaks the control plane's API. Every failure is a Problem with a sentence for people and a code for programs.

export class Problem extends Error {
  constructor(status, fields) {
    super(fields.detail ?? fields.title ?? `The control plane answered ${status}.`);
    Object.assign(this, { status, code: fields.code ?? "unknown", field: fields.field, fields });
    this.faults = fields.faults ?? [];
    this.current = fields.current;
  }
}

const TIMEOUT_MS = 20_000;
let skewMs = 0;

// The server's clock as this browser sees it: relative times must not depend on a wrong clock here.
export const serverNow = () => Date.now() + skewMs;

function noteClock(response) {
  const date = Date.parse(response.headers.get("Date") ?? "");
  const skew = date - Date.now();
  skewMs = Number.isNaN(date) || Math.abs(skew) < 3000 ? 0 : skew;
}

export function url(path, params = {}) {
  const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value !== "" && value !== null && value !== undefined));
  const text = query.toString();
  return `/api/v1/${path}${text ? `?${text}` : ""}`;
}

async function problemOf(response) {
  const fields = await response.json().catch(() => ({}));
  if (response.status === 401 && document.body.dataset.page !== "Sign in") {
    location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
  }
  return new Problem(response.status, fields);
}

export async function call(method, path, { params, body, csv, etag } = {}) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (csv !== undefined) headers["Content-Type"] = "text/csv";
  if (etag !== undefined) headers["If-Match"] = etag;
  let response;
  try {
    response = await fetch(url(path, params), {
      method, headers, body: csv ?? (body === undefined ? undefined : JSON.stringify(body)),
      credentials: "same-origin", cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    throw new Problem(0, { code: "unreachable", detail: "The control plane does not answer. Sidecars go on with their rules." });
  }
  noteClock(response);
  if (!response.ok) throw await problemOf(response);
  const data = response.status === 204 ? null : await response.json().catch(() => null);
  return { data, etag: response.headers.get("ETag") };
}

export const get = async (path, params) => (await call("GET", path, { params })).data;

export const canWrite = () => document.body.dataset.scope === "write";

export const userApi = (userId, rest = "") => `users/${encodeURIComponent(userId)}${rest}`;

// A browser turns "." and ".." as part of a path into something else, so these two ids have no page of their own.
export const userPage = (userId) => (userId === "." || userId === ".." ? null : `/users/${encodeURIComponent(userId)}`);
