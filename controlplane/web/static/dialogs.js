// Messages that pass, and questions before something happens that cannot be undone with one press.

import { byId, h, show } from "./dom.js";

const TOAST_MS = 6000;
const MAX_TOASTS = 3;

export function toast(text) {
  const place = byId("toasts");
  const message = h("div", { class: "toast" }, text);
  place.append(message);
  while (place.children.length > MAX_TOASTS) place.firstChild.remove();
  setTimeout(() => message.remove(), TOAST_MS);
}

// Asks, and then does it: `act(note)` may fail, which is told in the dialog. Resolves to whether it was done.
export function confirmed({ title, text, confirm, danger = false, withNote = true, act }) {
  const dialog = byId("confirm-dialog");
  const button = byId("confirm-ok");
  byId("confirm-title").textContent = title;
  byId("confirm-text").replaceChildren(...[text].flat());
  byId("confirm-note").value = "";
  byId("confirm-note-field").hidden = !withNote;
  button.textContent = confirm;
  button.className = `button ${danger ? "danger" : "primary"}`;
  show(byId("confirm-fault"));
  return new Promise((resolve) => {
    let done = false;
    dialog.querySelector("form").onsubmit = async (event) => {
      event.preventDefault();
      button.disabled = true;
      try {
        await act(byId("confirm-note").value.trim());
        done = true;
        dialog.close();
      } catch (problem) {
        show(byId("confirm-fault"), problem.message);
      } finally {
        button.disabled = false;
      }
    };
    byId("confirm-cancel").onclick = () => dialog.close();
    dialog.onclose = () => resolve(done);
    dialog.showModal();
    byId("confirm-cancel").focus();
  });
}

// Copies the code beside a [data-copy] button; where the browser allows no clipboard, the code is selected.
export function startCopying() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const code = button.parentElement.querySelector("pre");
    try {
      await navigator.clipboard.writeText(code.textContent);
      toast("Copied.");
    } catch {
      getSelection().selectAllChildren(code);
      toast("Selected: press Ctrl-C to copy.");
    }
  });
}
