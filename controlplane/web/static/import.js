// Imports overrides from a CSV file: first what it would do, then, if nobody changed a rule meanwhile, that.

import { count, limitText, plural } from "./amounts.js";
import { call } from "./api.js";
import { byId, h, name } from "./dom.js";
import { actionChip, windowName } from "./words.js";

const MAX_BYTES = 32 * 1024 * 1024;
const ROWS_SHOWN = 20;
const FAULTS_SHOWN = 100;

export function startImport(onDone) {
  const dialog = byId("import-dialog");
  const file = byId("import-file");
  const button = byId("import-ok");
  let csv = null;
  let revision = 0;
  document.querySelector('[data-role="import"]')?.addEventListener("click", () => {
    reset();
    dialog.showModal();
    file.focus();
  });
  byId("import-cancel").addEventListener("click", () => dialog.close());
  file.addEventListener("change", preview);
  dialog.querySelector("form").addEventListener("submit", commit);

  function reset() {
    file.value = "";
    csv = null;
    button.disabled = true;
    button.textContent = "Import";
    byId("import-preview").replaceChildren();
  }

  async function preview() {
    button.disabled = true;
    const [chosen] = file.files;
    if (!chosen) return;
    if (chosen.size > MAX_BYTES) return tell("red", "This file is larger than 32 MB. Split it, or use `spendgate rules apply`.");
    csv = await chosen.text();
    try {
      const { data } = await call("POST", "overrides/import", { csv, params: { preview: "true" } });
      revision = data.revision;
      draw(data);
    } catch (problem) {
      tell("red", problem.message);
    }
  }

  function draw(data) {
    const changes = data.added + data.changed;
    button.disabled = data.faults.length > 0 || changes === 0;
    button.textContent = changes ? `Import ${plural(changes, "override")}` : "Import";
    const summary = `${count(data.added)} new, ${count(data.changed)} changed, ${count(data.unchanged)} as they are.`;
    const faults = data.faults.slice(0, FAULTS_SHOWN).map((fault) => h("li", null, `Line ${fault.line}${fault.field ? `, ${fault.field}` : ""}: ${fault.message}`));
    byId("import-preview").replaceChildren(
      faults.length
        ? h("div", { class: "notice red" }, h("div", null, h("p", null, h("strong", null, `${plural(data.faults.length, "line")} cannot be read. Nothing is imported until all can.`)), h("ul", { class: "faults" }, faults)))
        : h("div", { class: "notice green" }, h("p", null, summary)),
      ...(data.rows.length ? [rows(data.rows)] : []),
    );
  }

  async function commit(event) {
    event.preventDefault();
    if (csv === null || button.disabled) return;
    button.disabled = true;
    try {
      await call("POST", "overrides/import", { csv, etag: `"${revision}"` });
      dialog.close();
      onDone();
    } catch (problem) {
      if (problem.status !== 412) return tell("red", problem.message);
      await preview();
      byId("import-preview").prepend(h("div", { class: "notice amber" }, "The rules changed meanwhile. This is what the import would do now; press Import again."));
    }
  }

  function tell(colour, text) {
    byId("import-preview").replaceChildren(h("div", { class: `notice ${colour}`, role: "alert" }, text));
  }
}

function rows(items) {
  const heads = ["", "User ID", "Limit", "Window", "Action"].map((label) => h("th", { scope: "col" }, label || h("span", { class: "visually-hidden" }, "Change")));
  const lines = items.slice(0, ROWS_SHOWN).map((row) => {
    const rule = row.after ?? row;
    return h("tr", null, h("td", null, row.before ? "Changed" : "New"), h("td", { class: "id" }, name(rule.key ?? rule.user_id)), h("td", { class: "number" }, before(row, rule)), h("td", null, windowName(rule.window)), h("td", null, actionChip(rule.action)));
  });
  return h("div", { class: "table-wrap", tabindex: "0", role: "region", "aria-label": "First rows of the import" }, h("table", null, h("thead", null, h("tr", null, heads)), h("tbody", null, lines)));
}

function before(row, rule) {
  const now = limitText(rule.limit_usd);
  return row.before && row.before.limit_usd !== rule.limit_usd ? `${limitText(row.before.limit_usd)} \u2192 ${now}` : now;
}
