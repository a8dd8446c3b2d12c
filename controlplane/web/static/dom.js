// Makes elements. Text always goes in as text: nothing here or elsewhere parses HTML, so no name can become markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    else if (name === "data") Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);
export const svg = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);
export const byId = (id) => document.getElementById(id);

// A name that an app or operator chose: kept apart from the direction of the text around it.
export const name = (text) => h("bdi", null, text);

export function show(element, ...children) {
  element.hidden = children.length === 0;
  element.replaceChildren(...children);
}

// Replaces what an element contains; the control that had the focus has it again if it is still there.
export function refill(element, children) {
  const focused = element.contains(document.activeElement) ? document.activeElement.dataset.focus : undefined;
  element.replaceChildren(...children);
  if (focused !== undefined) element.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus();
}

// Runs once for all calls within a time, at its end: what never stops coming cannot put it off.
export function gathered(run, wait) {
  let timer = 0;
  return () => {
    timer ||= setTimeout(() => { timer = 0; run(); }, wait);
  };
}

// Runs when the calls have paused: for typing.
export function debounce(run, wait) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => run(...values), wait);
  };
}
