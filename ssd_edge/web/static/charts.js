// A running chart of the last minutes: a small SVG with a line or two, the newest value on the right.

import { el } from "./dom.js";

const KEPT = 300; // samples, one a second
const WIDTH = 300;
const HEIGHT = 56;

export class Chart {
  /** `series`: names; `format` writes a value; `floor`: the least that the axis reaches up to. */
  constructor(title, series, format, floor = 0) {
    this.series = series.map((name) => ({ name, values: [], line: el("polyline", { class: `line ${name}` }) }));
    this.format = format;
    this.floor = floor;
    this.now = el("strong", { class: "now" });
    this.most = el("span", { class: "most" });
    this.plot = el(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
      ...this.series.map((one) => one.line),
    );
    this.element = el(
      "figure",
      { class: "chart" },
      el("figcaption", {}, el("span", { class: "title" }, title), this.now),
      this.plot,
      this.most,
    );
  }

  fill(columns) {
    for (const [index, one] of this.series.entries()) one.values = (columns[index] ?? []).slice(-KEPT);
    this.draw();
  }

  add(...values) {
    for (const [index, one] of this.series.entries()) {
      one.values.push(values[index] ?? null);
      if (one.values.length > KEPT) one.values.shift();
    }
    this.draw();
  }

  draw() {
    const known = this.series.flatMap((one) => one.values).filter((value) => value !== null);
    const top = Math.max(this.floor, ...known) * 1.05 || 1;
    for (const one of this.series) {
      const points = [];
      const offset = KEPT - one.values.length;
      one.values.forEach((value, index) => {
        if (value !== null) {
          points.push(`${(((offset + index) * WIDTH) / (KEPT - 1)).toFixed(1)},${(HEIGHT - 2 - (value / top) * (HEIGHT - 4)).toFixed(1)}`);
        }
      });
      one.line.setAttribute("points", points.join(" "));
    }
    this.now.textContent = this.series.map((one) => this.format(one.values.at(-1) ?? null)).join(" / ");
    this.most.textContent = known.length ? this.format(Math.max(...known)) + " at most" : "";
    this.element.hidden = !known.length;
  }
}
