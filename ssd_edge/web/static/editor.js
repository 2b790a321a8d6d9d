// Draw zones and lines over a picture: with the mouse, a finger, or the keyboard.

import { el, say } from "./dom.js";

const DRAG = 0.015; // share of the picture from which on a movement is no click
const STEP = 0.01; // of an arrow key; five of them with Shift
const LIMITS = { zones: "Click corners, or drag a box. Enter or a click on the first corner ends the zone.", lines: "Drag from one end of the line to the other, or click both." };

const clamp = (value) => Math.min(1, Math.max(0, value));
const rounded = ([x, y]) => [Math.round(clamp(x) * 1e4) / 1e4, Math.round(clamp(y) * 1e4) / 1e4];

export class Editor {
  /** `stage` is drawn over; `save(places)` gets the result; `close()` is called at the end. */
  constructor(stage, labels, places, save, close) {
    this.stage = stage;
    this.labels = labels;
    this.places = structuredClone(places);
    this.onsave = save;
    this.onclose = close;
    this.drawing = null; // {kind, points, from}
    this.chosen = null; // [kind, index]
    this.svg = el("svg", { class: "editor", viewBox: "0 0 1000 1000", preserveAspectRatio: "none", role: "group", "aria-label": "Zones and lines: corners are moved by arrow keys, and removed by Delete" });
    this.handles = el("div", { class: "handles" });
    this.hint = el("p", { class: "hint", role: "status" });
    this.list = el("ul", { class: "places" });
    this.saveButton = el("button", { class: "primary", onclick: () => this.save() }, "Save");
    this.panel = el(
      "section",
      { class: "card editing", "aria-label": "Zones and lines" },
      el("h3", {}, "Zones and lines"),
      el(
        "div",
        { class: "row" },
        el("button", { "data-do": "zone", onclick: (event) => this.begin("zones", event) }, "Add a zone"),
        el("button", { "data-do": "line", onclick: (event) => this.begin("lines", event) }, "Add a line"),
      ),
      this.hint,
      this.list,
      el("div", { class: "row" }, this.saveButton, el("button", { onclick: () => this.close() }, "Cancel")),
    );
    stage.options.places = false;
    stage.element.append(this.svg, this.handles);
    stage.element.classList.add("drawing");
    this.svg.addEventListener("pointerdown", (event) => this.down(event));
    this.svg.addEventListener("pointermove", (event) => this.move(event));
    this.svg.addEventListener("pointerup", (event) => this.up(event));
    this.onkey = (event) => this.key(event);
    document.addEventListener("keydown", this.onkey);
    this.draw();
  }

  close() {
    document.removeEventListener("keydown", this.onkey);
    this.svg.remove();
    this.handles.remove();
    this.stage.element.classList.remove("drawing");
    this.stage.options.places = true;
    this.stage.draw();
    this.onclose();
  }

  async save() {
    if (this.drawing) this.finish();
    this.saveButton.disabled = true;
    try {
      await this.onsave(this.places);
      this.close();
    } catch (error) {
      say(error.message, true);
    } finally {
      this.saveButton.disabled = false;
    }
  }

  /** Begin to draw; by the keyboard, which has no place to click, a zone or line in the middle is made at once. */
  begin(kind, event) {
    if (event.detail === 0) {
      const points = kind === "zones" ? [[0.35, 0.35], [0.65, 0.35], [0.65, 0.65], [0.35, 0.65]] : [[0.5, 0.3], [0.5, 0.7]];
      this.add(kind, points);
      this.handles.querySelector(".chosen")?.focus();
      return;
    }
    this.drawing = { kind, points: [], from: null };
    this.draw();
  }

  at(event) {
    const box = this.svg.getBoundingClientRect();
    return rounded([(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]);
  }

  down(event) {
    if (!this.drawing || event.button) return;
    event.preventDefault();
    this.svg.setPointerCapture(event.pointerId);
    this.drawing.from = this.at(event);
    this.drawing.to = null;
  }

  move(event) {
    const { drawing } = this;
    if (!drawing) return;
    drawing.over = this.at(event);
    if (drawing.from && !drawing.points.length && distance(drawing.from, drawing.over) > DRAG) drawing.to = drawing.over;
    this.drawShapes();
  }

  up(event) {
    const { drawing } = this;
    if (!drawing?.from) return;
    const [from, to] = [drawing.from, this.at(event)];
    drawing.from = null;
    if (!drawing.points.length && distance(from, to) > DRAG) {
      drawing.points = drawing.kind === "lines" ? [from, to] : boxOf(from, to);
      this.finish();
      return;
    }
    if (drawing.kind === "zones" && drawing.points.length > 2 && distance(to, drawing.points[0]) < 2 * DRAG) {
      this.finish();
      return;
    }
    drawing.points.push(to);
    if (drawing.kind === "lines" && drawing.points.length === 2) this.finish();
    else this.draw();
  }

  key(event) {
    if (!this.drawing) return;
    if (event.key === "Enter") this.finish();
    else if (event.key === "Escape") {
      this.drawing = null;
      this.draw();
    } else return;
    event.preventDefault();
  }

  finish() {
    const { kind, points } = this.drawing;
    this.drawing = null;
    if (points.length >= (kind === "zones" ? 3 : 2)) this.add(kind, points);
    else this.draw();
  }

  add(kind, points) {
    const word = kind === "zones" ? "zone" : "line";
    const names = new Set([...this.places.zones, ...this.places.lines].map((place) => place.name));
    let number = 1;
    while (names.has(`${word} ${number}`)) number += 1;
    this.places[kind].push({ name: `${word} ${number}`, points, anchor: "bottom" });
    this.chosen = [kind, this.places[kind].length - 1];
    this.draw();
  }

  all() {
    return ["zones", "lines"].flatMap((kind) => this.places[kind].map((place, index) => ({ kind, index, place })));
  }

  isChosen(kind, index) {
    return this.chosen?.[0] === kind && this.chosen[1] === index;
  }

  draw() {
    this.hint.textContent = this.drawing
      ? LIMITS[this.drawing.kind]
      : this.all().length
        ? "Corners can be dragged, or moved by arrow keys."
        : "Nothing is watched yet: add a zone or a line.";
    this.drawShapes();
    this.drawHandles();
    this.drawList();
  }

  drawShapes() {
    const shapes = this.all().map(({ kind, index, place }) =>
      shape(kind, place.points, `shape${this.isChosen(kind, index) ? " chosen" : ""}`),
    );
    if (this.drawing) {
      const { kind, points, from, to, over } = this.drawing;
      let corners = points;
      if (to) corners = kind === "lines" ? [from, to] : boxOf(from, to);
      else if (points.length && over) corners = [...points, over];
      if (corners.length > 1) shapes.push(shape(kind, corners, "shape chosen"));
    }
    this.svg.replaceChildren(...shapes);
  }

  drawHandles() {
    const handles = this.all().flatMap(({ kind, index, place }) =>
      place.points.map((point, corner) => this.handle(kind, index, place, corner)),
    );
    for (const [x, y] of this.drawing?.points ?? []) {
      const dot = el("span", { class: "corner" });
      dot.style.left = `${100 * x}%`;
      dot.style.top = `${100 * y}%`;
      handles.push(dot);
    }
    this.handles.replaceChildren(...handles);
    this.handles.classList.toggle("passive", Boolean(this.drawing));
  }

  handle(kind, index, place, corner) {
    const button = el("button", {
      class: `corner${this.isChosen(kind, index) ? " chosen" : ""}`,
      "aria-label": `${place.name}, corner ${corner + 1} of ${place.points.length}`,
    });
    const put = (point) => {
      place.points[corner] = rounded(point);
      button.style.left = `${100 * place.points[corner][0]}%`;
      button.style.top = `${100 * place.points[corner][1]}%`;
    };
    put(place.points[corner]);
    button.addEventListener("focus", () => {
      this.chosen = [kind, index];
      this.drawShapes();
    });
    button.addEventListener("pointerdown", (event) => button.setPointerCapture(event.pointerId));
    button.addEventListener("pointermove", (event) => {
      if (!button.hasPointerCapture(event.pointerId)) return;
      put(this.at(event));
      this.drawShapes();
    });
    button.addEventListener("keydown", (event) => {
      const step = STEP * (event.shiftKey ? 5 : 1);
      const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
      if (by) {
        put([place.points[corner][0] + by[0], place.points[corner][1] + by[1]]);
        this.drawShapes();
      } else if (event.key === "Delete" && place.points.length > (kind === "zones" ? 3 : 2)) {
        place.points.splice(corner, 1);
        this.draw();
        this.handles.querySelector(".chosen")?.focus();
      } else return;
      event.preventDefault();
    });
    return button;
  }

  drawList() {
    this.list.replaceChildren(
      ...this.all().map(({ kind, index, place }) => {
        const name = el("input", { value: place.name, maxlength: 64, "aria-label": `Name of the ${kind === "zones" ? "zone" : "line"}` });
        name.addEventListener("input", () => (place.name = name.value));
        name.addEventListener("focus", () => {
          this.chosen = [kind, index];
          this.drawShapes();
        });
        const anchor = el(
          "select",
          { "aria-label": `Point of a box that counts for ${place.name}` },
          ...[["bottom", "bottom edge"], ["centre", "centre"], ["top", "top edge"]].map(([value, text]) =>
            el("option", { value, selected: place.anchor === value }, text),
          ),
        );
        anchor.addEventListener("change", () => (place.anchor = anchor.value));
        const remove = el("button", { class: "quiet", "aria-label": `Remove ${place.name}` }, "Remove");
        remove.addEventListener("click", () => {
          this.places[kind].splice(index, 1);
          this.chosen = null;
          this.draw();
        });
        const more = [name, anchor];
        if (kind === "zones") more.push(this.dwell(place));
        return el("li", {}, ...more, this.classes(place), remove);
      }),
    );
  }

  dwell(place) {
    const seconds = el("input", { type: "number", min: 0, step: 0.5, value: place.min_time ?? "", placeholder: "off" });
    seconds.addEventListener("input", () => {
      if (seconds.value === "") delete place.min_time;
      else place.min_time = Number(seconds.value);
    });
    return el("label", { class: "small" }, "dwells after ", seconds, " s");
  }

  classes(place) {
    const boxes = this.labels.map((label) => {
      const box = el("input", { type: "checkbox", checked: !place.classes || place.classes.includes(label) });
      box.addEventListener("change", () => {
        const wanted = new Set(place.classes ?? this.labels);
        wanted[box.checked ? "add" : "delete"](label);
        if (wanted.size === this.labels.length) delete place.classes;
        else place.classes = this.labels.filter((one) => wanted.has(one));
      });
      return el("label", { class: "small" }, box, label);
    });
    return el("details", {}, el("summary", {}, "Classes"), el("div", { class: "row" }, ...boxes));
  }
}

function shape(kind, points, name) {
  const at = points.map(([x, y]) => `${1000 * x},${1000 * y}`).join(" ");
  return el(kind === "zones" && points.length > 2 ? "polygon" : "polyline", { class: name, points: at });
}

function boxOf([x1, y1], [x2, y2]) {
  const [left, right] = [Math.min(x1, x2), Math.max(x1, x2)];
  const [top, bottom] = [Math.min(y1, y2), Math.max(y1, y2)];
  return [[left, top], [right, top], [right, bottom], [left, bottom]];
}

function distance([x1, y1], [x2, y2]) {
  return Math.hypot(x1 - x2, y1 - y2);
}
