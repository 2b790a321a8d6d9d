// A camera's picture with its boxes, zones and lines drawn over it.

import { el } from "./dom.js";

const KEPT = 60; // frames whose boxes wait for their picture

export class Stage {
  constructor(name, constants) {
    this.name = name;
    this.constants = constants;
    this.options = { boxes: true, labels: true, places: true, score: null };
    this.places = { zones: [], lines: [] };
    this.found = new Map();
    this.counts = {};
    this.frame = 0;
    this.shown = 0;
    this.picture = el("canvas", { class: "picture", width: 640, height: 360, role: "img", "aria-label": `Picture of ${name}` });
    this.overlay = el("canvas", { class: "overlay", "aria-hidden": "true" });
    this.note = el("p", { class: "note", hidden: true });
    this.element = el("div", { class: "stage" }, this.picture, this.overlay, this.note);
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.element);
  }

  close() {
    this.observer.disconnect();
  }

  /** Take the boxes of a frame. */
  boxes(found) {
    this.found.set(found.frame, found.boxes);
    if (found.counts) this.counts = found.counts;
    for (const frame of this.found.keys()) {
      if (this.found.size <= KEPT) break;
      this.found.delete(frame);
    }
    if (found.frame === this.frame) this.draw();
  }

  /** Take a picture; one that took long to decode does not replace a newer one. */
  async show(frame, blob) {
    const bitmap = await createImageBitmap(blob);
    const { picture } = this;
    if (picture.width !== bitmap.width || picture.height !== bitmap.height) {
      picture.width = bitmap.width;
      picture.height = bitmap.height;
      this.element.style.setProperty("--ratio", bitmap.width / bitmap.height);
    }
    picture.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    this.frame = frame;
    this.shown += 1;
    picture.dataset.frame = frame;
    this.draw();
  }

  /** Say over the picture that something is wrong; nothing if `text` is empty. */
  say(text) {
    this.note.textContent = text;
    this.note.hidden = !text;
    this.element.classList.toggle("stale", Boolean(text));
  }

  draw() {
    const { overlay } = this;
    const rectangle = this.element.getBoundingClientRect();
    const ratio = devicePixelRatio || 1;
    const width = Math.round(rectangle.width * ratio);
    const height = Math.round(rectangle.height * ratio);
    if (!width || !height) return;
    if (overlay.width !== width || overlay.height !== height) {
      overlay.width = width;
      overlay.height = height;
    }
    const context = overlay.getContext("2d");
    context.clearRect(0, 0, width, height);
    context.lineJoin = "round";
    if (this.options.places) this.drawPlaces(context, width, height, ratio);
    const drawn = this.options.boxes ? this.chosen() : [];
    for (const box of drawn.toReversed()) this.drawBox(context, box, width, height, ratio);
    overlay.dataset.boxes = drawn.length;
  }

  /** The boxes of the picture's frame: those that count, or all from the slider's score on. */
  chosen() {
    const { score } = this.options;
    return (this.found.get(this.frame) ?? []).filter((box) => (score === null ? box[6] : box[1] >= score));
  }

  drawBox(context, [label, score, x1, y1, x2, y2, counts, id], width, height, ratio) {
    const colour = this.constants.colours[label % this.constants.colours.length];
    const [left, top, right, bottom] = [x1 * width, y1 * height, x2 * width, y2 * height];
    context.setLineDash(counts ? [] : [5 * ratio, 4 * ratio]);
    context.lineWidth = 2 * ratio;
    context.strokeStyle = colour;
    context.strokeRect(left, top, right - left, bottom - top);
    context.setLineDash([]);
    if (!this.options.labels) return;
    const name = this.constants.labels[label] + (id === null ? "" : ` #${id}`);
    tag(context, `${name} ${score.toFixed(2)}`, left - ratio, top, colour, width, ratio);
  }

  drawPlaces(context, width, height, ratio) {
    context.strokeStyle = "#f0f0f0";
    context.lineWidth = 2 * ratio;
    for (const [kind, ones] of Object.entries(this.places)) {
      for (const place of ones) {
        context.beginPath();
        place.points.forEach(([x, y], index) => context[index ? "lineTo" : "moveTo"](x * width, y * height));
        if (kind === "zones") {
          context.closePath();
          context.fillStyle = "#ffffff1c";
          context.fill();
        }
        context.stroke();
        const [x, y] = place.points[0];
        if (kind === "lines") {
          context.beginPath();
          context.arc(x * width, y * height, 4 * ratio, 0, 2 * Math.PI);
          context.fillStyle = "#f0f0f0";
          context.fill();
        }
        tag(context, place.name + briefly(this.counts[place.name]), x * width, y * height, "#f0f0f0", width, ratio);
      }
    }
  }
}

/** The one number of a place that stands in the picture: who is inside now, or how many have crossed. */
function briefly(counts) {
  if (!counts) return "";
  const sum = (ones) => Object.values(ones ?? {}).reduce((a, b) => a + b, 0);
  return ` ${counts.inside ? sum(counts.inside) : sum(counts["to left"]) + sum(counts["to right"])}`;
}

/** Numbers of a zone or line, of all classes together. */
export function told(counts) {
  if (!counts) return "";
  const parts = Object.entries(counts).map(([what, ones]) => `${Object.values(ones).reduce((a, b) => a + b, 0)} ${what}`);
  return `: ${parts.join(", ")}`;
}

function tag(context, text, x, y, colour, width, ratio) {
  const size = (width < 560 * ratio ? 10.5 : 12.5) * ratio;
  context.font = `600 ${size}px system-ui, sans-serif`;
  const wide = context.measureText(text).width + 8 * ratio;
  const high = size + 6 * ratio;
  const left = Math.max(0, Math.min(x, width - wide));
  const top = y >= high ? y - high : y;
  context.fillStyle = colour;
  context.fillRect(left, top, wide, high);
  context.fillStyle = isDark(colour) ? "#fff" : "#141414";
  context.textBaseline = "middle";
  context.fillText(text, left + 4 * ratio, top + high / 2);
}

function isDark(colour) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return 0.299 * red + 0.587 * green + 0.114 * blue < 130;
}
