// One connection of server-sent events: what happens arrives once and in order, also across a lost connection.
//
// The browser itself reconnects with the id of the last event it was told (Last-Event-ID). Where it gives up, because
// the answer was no stream, the connection is opened anew behind that same event. A tab in the background gives its
// connection back after a while, for browsers allow a server only six of them, and catches up when it is seen again.

import { url } from "./api.js";

const HIDDEN_MS = 30_000;
const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 15_000;

export class Live {
  // `on`: handlers `enforcement`, `rules`, `sidecars`, `store`, `gap` (data) and `state` ("live" or "lost").
  constructor(params, after, on) {
    Object.assign(this, { params, on, cursor: after, source: null, waitMs: FIRST_WAIT_MS });
    this.hidden = () => this.whenHidden();
    document.addEventListener("visibilitychange", this.hidden);
    this.open();
  }

  open() {
    const source = new EventSource(url("events/stream", { ...this.params, after: this.cursor }));
    this.source = source;
    source.onopen = () => { this.waitMs = FIRST_WAIT_MS; this.on.state?.("live"); };
    source.onerror = () => { this.on.state?.("lost"); if (source.readyState === EventSource.CLOSED) this.again(); };
    for (const event of ["enforcement", "rules", "sidecars", "store", "gap"]) {
      source.addEventListener(event, (message) => {
        if (message.lastEventId) this.cursor = message.lastEventId;
        this.on[event]?.(JSON.parse(message.data));
      });
    }
  }

  again() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), this.waitMs);
    this.waitMs = Math.min(this.waitMs * 2, LONGEST_WAIT_MS);
  }

  whenHidden() {
    clearTimeout(this.hiddenTimer);
    if (document.hidden) this.hiddenTimer = setTimeout(() => this.disconnect(), HIDDEN_MS);
    else if (this.source === null) this.open();
  }

  disconnect() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  close() {
    document.removeEventListener("visibilitychange", this.hidden);
    clearTimeout(this.hiddenTimer);
    this.disconnect();
  }
}
