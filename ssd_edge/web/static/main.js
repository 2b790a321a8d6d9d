// The page: a grid of all cameras, or one of them with its numbers. What is shown stands in the address: #camera=NAME.

import { listen, readPictures } from "./api.js";
import { el, milliseconds, number, setText } from "./dom.js";
import { Panel } from "./panel.js";
import { Stage } from "./stage.js";

const WORDS = { starting: "starting", live: "live", lost: "lost", ended: "ended" };
const OLD = 2; // seconds without a picture after which a badge tells its age

const main = document.getElementById("cameras");
const page = { state: null, history: null, cards: new Map(), panel: null, stop: null, statuses: {}, isUp: false };

function wanted() {
  const name = new URLSearchParams(location.hash.slice(1)).get("camera");
  const names = page.state.cameras.map((camera) => camera.name);
  if (names.includes(name)) return name;
  return names.length === 1 ? names[0] : null;
}

const link = (name) => `#${new URLSearchParams({ camera: name })}`;

/** Build what the address asks for. */
function build() {
  page.stop?.();
  for (const card of page.cards.values()) card.stage.close();
  page.cards.clear();
  page.panel = null;
  const one = wanted();
  const cameras = page.state.cameras.filter((camera) => one === null || camera.name === one);
  const nodes = cameras.map((camera) => makeCard(camera, one !== null));
  main.className = one === null ? "grid" : "single";
  if (one !== null) {
    page.panel = new Panel(cameras[0], page.cards.get(one).stage, page.state);
    if (page.history) page.panel.history(page.history);
    nodes.splice(0, 1, el("div", { class: "shown" }, nodes[0], page.panel.chartCard));
    nodes.push(page.panel.element);
  }
  main.replaceChildren(...(nodes.length ? nodes : [el("p", { class: "hint" }, "No camera is running.")]));
  makeChoice(one);
  document.title = one ? `${one} – ssd-edge` : "ssd-edge";
  look();
  for (const [name, status] of Object.entries(page.statuses)) showStatus(name, status);
}

function makeCard(camera, isAlone) {
  const stage = new Stage(camera.name, page.state);
  stage.places = { zones: camera.zones, lines: camera.lines };
  const badge = el("span", { class: "badge", "data-camera": camera.name });
  const rate = el("span", { class: "rate" });
  const title = isAlone ? el("h2", {}, camera.name) : el("h2", {}, el("a", { href: link(camera.name) }, camera.name));
  const card = el("article", { class: "camera", "aria-label": camera.name }, el("header", {}, title, rate, badge), stage.element);
  if (!isAlone) {
    stage.options.labels = page.state.cameras.length <= 4;
    stage.element.addEventListener("click", () => (location.hash = link(camera.name)));
  }
  page.cards.set(camera.name, { stage, badge, rate });
  return card;
}

function makeChoice(one) {
  const { cameras } = page.state;
  const choice = document.getElementById("choice");
  if (cameras.length < 2) {
    choice.replaceChildren();
    return;
  }
  const entries = [["All", "#", one === null], ...cameras.map((camera) => [camera.name, link(camera.name), camera.name === one])];
  choice.replaceChildren(...entries.map(([text, href, isHere]) => el("a", { href, "aria-current": isHere ? "page" : null }, text)));
}

/** Read pictures while the page can be seen: nobody compresses them otherwise. */
function look() {
  page.stop?.();
  page.stop = null;
  const names = [...page.cards.keys()];
  if (names.length && !document.hidden) {
    page.stop = readPictures(names, (name, frame, blob) => page.cards.get(name)?.stage.show(frame, blob).then(() => page.panel?.boxes()));
  }
}

function showStatus(name, status) {
  page.statuses[name] = status;
  const card = page.cards.get(name);
  if (!card) return;
  const condition = page.isUp ? status.condition : "lost";
  const isOld = condition === "live" && status.age > OLD;
  card.badge.className = `badge ${isOld ? "late" : condition}`;
  setText(card.badge, isOld ? `${milliseconds(status.age)} old` : WORDS[condition]);
  const lost = status.age === null ? "Camera not there; ssd-edge keeps trying." : `Camera lost. Last picture ${milliseconds(status.age)} ago.`;
  const notes = { lost, ended: "The camera has ended.", starting: "Waiting for the first picture.", live: "" };
  card.stage.say(page.isUp ? notes[condition] : "No connection to ssd-edge.");
  if (page.panel?.name === name) page.panel.status(status);
}

function showMachine(machine) {
  const parts = [];
  if (machine.celsius !== null && machine.celsius !== undefined) parts.push(`${number(machine.celsius)} °C`);
  if (machine.watts !== null && machine.watts !== undefined) parts.push(`${number(machine.watts, 1)} W`);
  if (machine.limits?.length) parts.push(`slowed down: ${machine.limits.join(", ")}`);
  setText(document.getElementById("machine"), parts.join(" · "));
}

listen({
  link(isUp) {
    page.isUp = isUp;
    const badge = document.getElementById("link");
    badge.className = `badge ${isUp ? "live" : "lost"}`;
    setText(badge, isUp ? "connected" : "no connection");
    for (const [name, status] of Object.entries(page.statuses)) showStatus(name, status);
  },
  history(history) {
    page.history = history;
    page.panel?.history(history);
  },
  state(state) {
    const names = (one) => one?.cameras.map((camera) => camera.name).join("\n");
    const isNew = names(page.state) !== names(state);
    page.state = state;
    if (isNew) {
      build();
      return;
    }
    for (const camera of state.cameras) {
      const stage = page.cards.get(camera.name)?.stage;
      if (stage) stage.places = { zones: camera.zones, lines: camera.lines };
      if (page.panel?.name === camera.name) page.panel.state(camera);
    }
  },
  status(statuses) {
    for (const [name, status] of Object.entries(statuses)) showStatus(name, status);
  },
  numbers(numbers) {
    showMachine(numbers.machine);
    for (const [name, camera] of Object.entries(numbers.cameras)) {
      const card = page.cards.get(name);
      if (card) setText(card.rate, camera.fps === undefined ? "" : `${number(camera.fps, 1)} FPS`);
      showStatus(name, camera);
      if (page.panel?.name === name) page.panel.numbers(camera, numbers.machine);
    }
  },
  boxes(found) {
    for (const [name, boxes] of Object.entries(found)) {
      page.cards.get(name)?.stage.boxes(boxes);
      if (page.panel?.name === name) page.panel.boxes();
    }
  },
});

addEventListener("hashchange", () => {
  if (page.state) build();
});
document.addEventListener("visibilitychange", look);
