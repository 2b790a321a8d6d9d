// Make elements: el("button", {class: "primary", onclick: save}, "Save").

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "path", "polygon", "polyline", "line", "circle", "rect", "text", "g", "title"]);

export function el(tag, attributes = {}, ...children) {
  const svg = SVG_TAGS.has(tag);
  const element = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

let saidTimer = 0;

/** Tell something for a few seconds, to screen readers too. */
export function say(line, isError = false) {
  const place = document.getElementById("said");
  place.textContent = line;
  place.classList.toggle("bad", isError);
  place.classList.add("on");
  clearTimeout(saidTimer);
  saidTimer = setTimeout(() => place.classList.remove("on"), isError ? 8000 : 4000);
}

/** Set text only if it differs, so that a reader's selection is not lost. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function number(value, digits = 0) {
  return value === null || value === undefined || Number.isNaN(value) ? "–" : value.toFixed(digits);
}

/** Milliseconds for people. */
export function milliseconds(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  return seconds < 1 ? `${number(1000 * seconds, seconds < 0.01 ? 1 : 0)} ms` : `${number(seconds, 1)} s`;
}
