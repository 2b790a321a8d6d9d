// What stands beside a camera's picture: its numbers, charts, the score's slider, zones, snapshots.

import { put } from "./api.js";
import { Chart } from "./charts.js";
import { el, milliseconds, number, say, setText } from "./dom.js";
import { Editor } from "./editor.js";
import { told } from "./stage.js";

const EVENTS = { entered: "entered", left: "left", dwelt: "stays in", crossed: "crossed" };

export class Panel {
  constructor(camera, stage, constants) {
    this.stage = stage;
    this.constants = constants;
    this.name = camera.name;
    this.lastEvent = 0;
    this.lastDropped = null;
    this.charts = {
      fps: new Chart("FPS", ["fps"], (value) => number(value, 1)),
      latency: new Chart("Latency, p50 / p99", ["p50", "p99"], milliseconds),
      age: new Chart("Age", ["age"], milliseconds),
      dropped: new Chart("Not shown, per s", ["dropped"], (value) => number(value, 0), 1),
      celsius: new Chart("Temperature", ["celsius"], (value) => `${number(value, 0)} °C`, 60),
      watts: new Chart("Power", ["watts"], (value) => `${number(value, 1)} W`),
    };
    this.tiles = Object.fromEntries(["fps", "p50", "p99", "age", "dropped", "objects"].map((key) => [key, el("dd", { "data-number": key }, "–")]));
    this.ledger = el("dl", { class: "ledger" });
    this.counts = el("ul", { class: "counts" });
    this.events = el("ol", { class: "events", "aria-label": "Events, the newest first" });
    this.controls = this.makeControls();
    this.watchCard = el(
      "section",
      { class: "card watch", "aria-label": "Zones and lines" },
      el("h3", {}, "Zones and lines"),
      this.counts,
      el("div", { class: "row" }, (this.editButton = el("button", { "data-do": "edit", onclick: () => this.edit() }, "Draw zones and lines"))),
      (this.fileNote = el("p", { class: "hint" })),
      this.events,
    );
    this.element = el(
      "aside",
      { class: "panel", "aria-label": `Numbers and controls of ${camera.name}` },
      el(
        "section",
        { class: "card tiles", "aria-label": "Numbers" },
        el(
          "dl",
          {},
          ...[["fps", "FPS"], ["p50", "latency p50"], ["p99", "latency p99"], ["age", "age"], ["dropped", "not shown"], ["objects", "boxes"]].map(
            ([key, words]) => el("div", {}, el("dt", {}, words), this.tiles[key]),
          ),
        ),
        el("details", {}, el("summary", {}, "Why frames were not shown"), this.ledger),
      ),
      this.controls,
      this.watchCard,
    );
    this.chartCard = el("section", { class: "card charts", "aria-label": "Charts of the last five minutes" }, ...Object.values(this.charts).map((chart) => chart.element));
    this.state(camera);
  }

  makeControls() {
    const toggle = (key, words) => {
      const box = el("input", { type: "checkbox", checked: true, "data-toggle": key });
      box.addEventListener("change", () => {
        this.stage.options[key] = box.checked;
        this.stage.draw();
      });
      return el("label", {}, box, words);
    };
    this.slider = el("input", { type: "range", min: this.constants.lowest, max: 1, step: 0.01, id: "score" });
    this.sliderValue = el("output", { for: "score" });
    this.slider.addEventListener("input", () => {
      this.stage.options.score = Number(this.slider.value);
      this.showScore();
      this.stage.draw();
    });
    this.apply = el("button", { "data-do": "apply", onclick: () => this.setScore(this.stage.options.score) }, "Use for the run");
    this.reset = el("button", { class: "quiet", onclick: () => this.resetScore() }, "As before");
    const snapshot = (boxes, words) =>
      el("a", { class: "button", download: true, href: `/api/cameras/${encodeURIComponent(this.name)}/snapshot?boxes=${boxes}` }, words);
    return el(
      "section",
      { class: "card controls", "aria-label": "What is drawn" },
      el("div", { class: "row" }, toggle("boxes", "Boxes"), toggle("labels", "Labels"), toggle("places", "Zones")),
      el("label", { for: "score", class: "slider" }, "Draw from score ", this.sliderValue),
      this.slider,
      el("div", { class: "row" }, this.apply, this.reset),
      el("div", { class: "row" }, el("span", { class: "words" }, "Snapshot"), snapshot(1, "with boxes"), snapshot(0, "without")),
    );
  }

  showScore() {
    const { score } = this.stage.options;
    this.slider.value = score ?? this.runScore;
    const each = this.camera.score === null && new Set(this.camera.thresholds).size > 1;
    setText(this.sliderValue, score === null ? (each ? "of each class" : number(this.runScore, 2)) : number(score, 2));
    this.apply.disabled = score === null;
    this.reset.disabled = score === null && this.camera.score === this.firstScore;
  }

  resetScore() {
    this.stage.options.score = null;
    if (this.camera.score !== this.firstScore) this.setScore(this.firstScore);
    else this.showScore();
    this.stage.draw();
  }

  async setScore(score) {
    try {
      const camera = await put(this.name, "score", { score });
      this.stage.options.score = null;
      this.state(camera);
      say(score === null ? "The run uses each class's own score again." : `The run counts from score ${number(score, 2)} on. It is not kept for the next run.`);
    } catch (error) {
      say(error.message, true);
    }
  }

  /** Take what changes by somebody's hand. */
  state(camera) {
    this.camera = camera;
    if (this.firstScore === undefined) this.firstScore = camera.score;
    this.runScore = Math.min(...camera.thresholds);
    this.stage.places = { zones: camera.zones, lines: camera.lines };
    setText(this.fileNote, camera.file ? `Kept in ${camera.file}.` : camera.watched ? "Kept for this run only: download the file, and start with --watch." : "");
    if (!camera.file && camera.watched) {
      this.fileNote.append(" ", el("a", { href: `/api/cameras/${encodeURIComponent(this.name)}/watch`, download: "watch.yaml" }, "Download watch.yaml"));
    }
    this.showScore();
    this.stage.draw();
  }

  edit() {
    const done = () => {
      editor.panel.replaceWith(this.watchCard);
      this.editButton.focus();
    };
    const save = async (places) => {
      this.state(await put(this.name, "places", places));
      say(this.camera.file ? `Saved in ${this.camera.file}, and watched from now on.` : "Watched from now on, for this run.");
    };
    const editor = new Editor(this.stage, this.constants.labels, { zones: this.camera.zones, lines: this.camera.lines }, save, done);
    this.watchCard.replaceWith(editor.panel);
    editor.panel.querySelector("button").focus();
    this.stage.element.scrollIntoView({ block: "nearest" });
  }

  status(status) {
    setText(this.tiles.age, milliseconds(status.age));
  }

  boxes() {
    setText(this.tiles.objects, String(this.stage.chosen().length));
    const names = [...this.camera.zones, ...this.camera.lines].map((place) => place.name + told(this.stage.counts[place.name]));
    if (names.join("\n") !== this.counted) {
      this.counted = names.join("\n");
      this.counts.replaceChildren(...names.map((line) => el("li", {}, line)));
    }
  }

  numbers(numbers, machine) {
    setText(this.tiles.fps, number(numbers.fps, 1));
    setText(this.tiles.p50, milliseconds(numbers.p50));
    setText(this.tiles.p99, milliseconds(numbers.p99));
    setText(this.tiles.dropped, numbers.sent ? `${numbers.dropped} of ${numbers.sent}` : "0");
    this.status(numbers);
    const rows = Object.entries(numbers.ledger ?? {}).map(([reason, count]) => el("div", {}, el("dt", {}, this.constants.reasons[reason] ?? reason), el("dd", {}, String(count))));
    rows.push(el("div", {}, el("dt", {}, "outages"), el("dd", {}, String(numbers.outages ?? 0))));
    this.ledger.replaceChildren(...rows);
    this.charts.fps.add(numbers.fps);
    this.charts.latency.add(numbers.p50, numbers.p99);
    this.charts.age.add(numbers.age);
    const dropped = numbers.dropped ?? null;
    this.charts.dropped.add(this.lastDropped === null || dropped === null ? null : Math.max(0, dropped - this.lastDropped));
    this.lastDropped = dropped;
    this.charts.celsius.add(machine.celsius ?? null);
    this.charts.watts.add(machine.watts ?? null);
    this.addEvents(numbers.events);
  }

  addEvents(events) {
    for (const event of events.filter((one) => one.number > this.lastEvent)) {
      this.lastEvent = event.number;
      const to = event.to ? ` to the ${event.to}` : "";
      const after = event.seconds === undefined ? "" : `, ${number(event.seconds, 1)} s`;
      this.events.prepend(el("li", {}, `${event.label} #${event.id} ${EVENTS[event.event] ?? event.event} ${event.place}${to}${after}`));
    }
    while (this.events.children.length > 30) this.events.lastChild.remove();
  }

  history(history) {
    const camera = history.cameras[this.name];
    if (camera) {
      this.charts.fps.fill([camera.fps]);
      this.charts.latency.fill([camera.p50, camera.p99]);
      this.charts.age.fill([camera.age]);
      this.charts.dropped.fill([camera.dropped.map((value, at, all) => (at && value !== null && all[at - 1] !== null ? Math.max(0, value - all[at - 1]) : null))]);
      this.lastDropped = camera.dropped.at(-1) ?? null;
    }
    this.charts.celsius.fill([history.machine.celsius]);
    this.charts.watts.fill([history.machine.watts]);
  }
}
