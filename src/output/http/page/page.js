// The page of passd: asks its HTTP interface, shows what it says. No library, no build step.
//
// Every camera that is in sight asks for its next frame when the last one has been drawn; a frame comes as
// a line of JSON and a JPEG, so that boxes and picture belong together. All else is asked for every few seconds.
"use strict";

const $ = (selector, where = document) => where.querySelector(selector);
const SVG = "http://www.w3.org/2000/svg";
const PAUSE = { view: 70, retry: 1000, status: 2000, history: 10_000, events: 5000, learning: 3000 }; // milliseconds
const TRAIL = 60; // points of a track
const PAGE = 24; // events at a time
const LOOKS = { ".": [0, 0, 0, 110], c: [40, 220, 80, 110], b: [40, 220, 80, 45], s: [255, 170, 30, 110], m: [150, 60, 200, 90] };

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const progressOf = (stats) => (!stats.healthy ? "a camera is stuck" : stats.live === 0 ? "no camera is live" : "every live camera makes progress");
const percent = (share) => `${Math.round(100 * share)} %`;

/** The time of today, or date and time. */
function moment(seconds) {
  const at = new Date(seconds * 1000);
  return at.toDateString() === new Date().toDateString() ? at.toLocaleTimeString() : at.toLocaleString();
}

function element(name, attributes = {}, text = "") {
  const made = document.createElement(name);
  Object.assign(made, attributes);
  made.append(text);
  return made;
}

function shape(name, attributes, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(text);
  return made;
}

// ---- asking ---------------------------------------------------------------------------------------------

let isLoginShown = false;

/** A response; throws if there is none or it is an error. */
async function ask(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(10_000) });
  if (answer.status === 401) showLogin(true);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer;
}
const askJson = async (path) => (await ask(path)).json();

function showLogin(show) {
  if (isLoginShown === show) return;
  isLoginShown = show;
  $("#login").hidden = !show;
  $("main").hidden = show;
  $("#overlays").hidden = show;
  if (show) $("#summary").textContent = "";
  if (show) $("#login [name=token]").focus();
}

$("#login").addEventListener("submit", async (submit) => {
  submit.preventDefault();
  const answer = await fetch("login", { method: "POST", body: $("#login [name=token]").value }).catch(() => null);
  $("#login .bad").textContent = answer?.ok ? "" : answer ? "That is not the token." : "No answer.";
  if (answer?.ok) {
    showLogin(false);
    refresh();
  }
});

// ---- cameras --------------------------------------------------------------------------------------------

const overlays = Object.fromEntries([...document.querySelectorAll("#overlays input")].map((input) => [input.name, input]));
const cameras = new Map(); // by id
const inSight = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const camera = cameras.get(entry.target.dataset.id); // it may be gone by now
    if (camera) camera.isInSight = entry.isIntersecting;
  }
});

for (const input of Object.values(overlays)) {
  input.checked = JSON.parse(localStorage.getItem(input.name) ?? input.checked);
  input.addEventListener("change", () => {
    localStorage.setItem(input.name, input.checked);
    for (const camera of cameras.values()) camera.shown = null; // the same frame again, drawn anew
    showLegends();
  });
}

function showLegends() {
  $("#legend").hidden = !overlays.patches.checked;
  $("#box-legend").hidden = !overlays.boxes.checked && !overlays.tracks.checked;
}
showLegends();

/** Where a label stands: above its box, in it, below it, or else the next free line down; it is added to `labels`. */
function placed(labels, { x1, y1, y2, width, size }, frame) {
  const line = 1.1 * size;
  const x = Math.max(0, Math.min(x1, frame.width - width));
  const isFree = (y) => y > size && y < frame.height &&
    !labels.some((other) => Math.abs(other.y - y) < line && x < other.x + other.width && other.x < x + width);
  const lines = Array.from({ length: 12 }, (_, i) => y1 + (i + 2) * line);
  const y = [y1 - 0.35 * size, y1 + line, y2 + line, ...lines].find(isFree) ?? Math.max(line, y1 - 0.35 * size);
  const label = { x, y, width };
  labels.push(label);
  return label;
}

class Camera {
  constructor(id) {
    this.id = id;
    this.url = `api/cameras/${encodeURIComponent(id)}`;
    this.card = $("template#camera").content.firstElementChild.cloneNode(true);
    this.card.dataset.id = id;
    $(".name", this.card).textContent = id;
    this.isInSight = false;
    this.isGone = false;
    this.shown = null; // number of the frame that is drawn
    this.trails = new Map(); // by track
    this.plotted = -Infinity;
    this.isHeld = false; // a still is marked
    this.marking = new Marking(this);
    inSight.observe(this.card);
    this.watch();
  }

  /** Draws frame after frame for as long as the camera is there. */
  async watch() {
    while (!this.isGone) {
      if (!this.isInSight || this.isHeld || document.hidden || isLoginShown) {
        await sleep(200);
        continue;
      }
      try {
        const after = this.shown === null ? "" : `&after=${this.shown}`;
        const answer = await ask(`${this.url}/view?patches=${overlays.patches.checked ? 1 : 0}${after}`);
        if (answer.status === 200) await this.draw(new Uint8Array(await answer.arrayBuffer()));
        await sleep(Math.max(PAUSE.view, 1000 * (last?.stats.view_interval ?? 0)));
      } catch {
        this.shown = null; // passd may have been started anew, and counts anew
        await sleep(PAUSE.retry);
      }
    }
  }

  /** Draws a frame, unless another one is held; gives what is known of it. */
  async draw(bytes, isStill = false) {
    const end = bytes.indexOf(10);
    const frame = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end)));
    const picture = await createImageBitmap(new Blob([bytes.subarray(end + 1)], { type: "image/jpeg" }));
    if (this.isHeld && !isStill) return frame;
    const canvas = $(".picture", this.card);
    if (canvas.width !== picture.width || canvas.height !== picture.height) {
      [canvas.width, canvas.height] = [picture.width, picture.height];
      $(".view", this.card).style.aspectRatio = `${frame.width} / ${frame.height}`;
    }
    canvas.getContext("2d").drawImage(picture, 0, 0);
    picture.close();
    this.drawPatches(frame.patches);
    this.drawBoxes(frame);
    this.shown = frame.frame;
    this.card.dataset.frame = frame.frame;
    return frame;
  }

  drawPatches(patches) {
    const canvas = $(".patches", this.card);
    canvas.hidden = !patches;
    if (!patches) return;
    [canvas.width, canvas.height] = [patches.columns, patches.rows];
    canvas.style.transform = `scale(${patches.width}, ${patches.height})`; // the grid is the model's input
    const image = new ImageData(patches.columns, patches.rows);
    [...patches.looks].forEach((look, i) => image.data.set(LOOKS[look] ?? LOOKS["."], 4 * i));
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  drawBoxes(frame) {
    const svg = $(".boxes", this.card);
    svg.setAttribute("viewBox", `0 0 ${frame.width} ${frame.height}`);
    const size = (frame.width * 12) / Math.max(200, svg.clientWidth); // 12 px on the screen
    const isSmall = svg.clientWidth < 450; // no room for many words
    const shapes = [];
    const labels = []; // where they stand already
    const seen = new Set();
    for (const d of frame.detections) {
      const [x1, y1, x2, y2] = d.box;
      if (d.track !== undefined) {
        seen.add(d.track);
        const trail = this.trails.get(d.track) ?? [];
        if (this.shown !== frame.frame) trail.push([(x1 + x2) / 2, y2]);
        this.trails.set(d.track, trail.slice(-TRAIL));
        if (overlays.tracks.checked) {
          shapes.push(shape("polyline", { class: d.source, points: trail.map((p) => p.join()).join(" ") }));
        }
      }
      if (!overlays.boxes.checked) continue;
      shapes.push(shape("rect", { class: d.source, x: x1, y: y1, width: x2 - x1, height: y2 - y1 }));
      const words = [d.label, d.track === undefined ? "" : `#${d.track}`];
      if (!isSmall) words.push(d.score.toFixed(2));
      if (!isSmall && d.source !== "computed") words.push(`${d.age.toFixed(1)} s`);
      const text = words.filter(Boolean).join(" ");
      const label = placed(labels, { x1, y1, y2, width: 0.64 * size * text.length, size }, frame);
      shapes.push(shape("text", { x: label.x, y: label.y, "font-size": size, "stroke-width": size / 4 }, text));
    }
    for (const track of this.trails.keys()) if (!seen.has(track)) this.trails.delete(track);
    svg.replaceChildren(...shapes);
  }

  describe(c, before, seconds) {
    const state = $(".state", this.card);
    this.detects = c.detection;
    const isDegraded = c.degraded !== "no" && c.state === "live";
    this.card.dataset.state = c.state;
    state.className = `state ${isDegraded ? "degraded" : c.state}`;
    state.textContent = isDegraded ? `degraded: ${c.degraded}` : c.state.replace("_", " ");
    state.title = isDegraded ? "There is more to compute than the machine or the budget allows." : "";
    $(".cause", this.card).textContent = c.state === "live" ? "" : (c.cause ?? (c.state === "connecting" ? "connecting …" : ""));
    const fps = before ? (c.frames_processed - before.frames_processed) / seconds : 0;
    const patches = before ? c.patches - before.patches : 0;
    const share = patches > 0 ? (c.patches_computed - before.patches_computed) / patches : 0;
    const looks = c.detection ? `${percent(share)} of patches` : "detection is off";
    const facts = [`${Math.max(0, fps).toFixed(1)} frames/s`, looks, `mode ${c.mode}`, `${c.model} ${c.size}`, c.provider];
    $(".facts", this.card).textContent = facts.join(" · ");
    if (performance.now() - this.plotted > PAUSE.history) this.plot();
  }

  /** Compute saved over time, of an hour at most. */
  async plot() {
    this.plotted = performance.now();
    const history = await askJson(`${this.url}/history`).catch(() => null);
    $(".plot", this.card).toggleAttribute("hidden", !history?.steps.length);
    if (!history?.steps.length) return;
    const newest = history.steps.at(-1).start;
    const saved = (step) => 1 - Math.min(1, step.computed_share);
    const span = Math.max(600, newest - history.steps[0].start); // ten minutes at least
    const x = (step) => 360 * (1 - (newest - step.start) / span);
    const lines = [[]];
    history.steps.forEach((step, i) => {
      // A gap: nothing was looked at.
      if (i > 0 && step.start - history.steps[i - 1].start > 3 * history.step) lines.push([]);
      lines.at(-1).push([x(step), 60 * (1 - saved(step))]);
    });
    const parts = lines.flatMap((line) => [
      shape("path", { d: `M${line[0][0]},60 L${line.map((p) => p.join()).join(" L")} L${line.at(-1)[0]},60 Z` }),
      shape("polyline", { points: line.map((p) => p.join()).join(" ") }),
    ]);
    $(".plot", this.card).replaceChildren(...parts);
    const frames = history.steps.reduce((sum, step) => sum + step.frames, 0);
    const mean = history.steps.reduce((sum, step) => sum + saved(step) * step.frames, 0) / Math.max(1, frames);
    const text = `compute saved in the last ${Math.ceil(span / 60)} minutes: ${percent(mean)}, now ${percent(saved(history.steps.at(-1)))}`;
    $(".plot-title", this.card).textContent = this.detects ? text : "detection is off";
    $(".plot", this.card).setAttribute("aria-label", text);
  }
}

// ---- status ---------------------------------------------------------------------------------------------

let last = null; // { time, cameras, stats }

async function refreshStatus() {
  const [list, stats] = await Promise.all([askJson("api/cameras"), askJson("api/stats")]);
  const time = performance.now();
  const seconds = last ? (time - last.time) / 1000 : 1;
  for (const [id, camera] of cameras) {
    if (list.some((c) => c.id === id)) continue;
    camera.isGone = true;
    inSight.unobserve(camera.card);
    camera.card.remove();
    cameras.delete(id);
  }
  for (const c of list) {
    if (!cameras.has(c.id)) {
      cameras.set(c.id, new Camera(c.id));
      $("#cameras").append(cameras.get(c.id).card);
    }
    cameras.get(c.id).describe(c, last?.list.find((before) => before.id === c.id), seconds);
  }
  const rate = last ? Math.max(0, stats.frames_processed - last.stats.frames_processed) / seconds : 0;
  const words = [`${stats.live} of ${stats.cameras} live`, `${rate.toFixed(1)} frames/s`];
  if (stats.degraded > 0) words.push(`${stats.degraded} degraded`);
  $("#summary").textContent = words.join(" · ");
  $("#trouble").hidden = !stats.trouble;
  $("#trouble pre").textContent = stats.trouble ?? "";
  const heads = [...document.querySelectorAll("#health th")].map((head) => head.textContent);
  $("#health tbody").replaceChildren(...list.map((c) => {
    const cells = [c.id, c.degraded === "no" ? c.state : `${c.state}, degraded`, c.frames_processed, c.frames_dropped, c.frames_failed, c.reconnects,
      `${c.model} ${c.size}, ${c.provider}, ${c.mode}`, c.detect_ms_mean.toFixed(1)];
    const row = element("tr");
    row.append(...cells.map((cell, i) => {
      const made = element("td", {}, cell);
      made.dataset.head = heads[i]; // where there is no room for columns
      return made;
    }));
    return row;
  }));
  const process = [`passd ${stats.version}`, `${Math.round(stats.resident_mib)} MiB`, progressOf(stats)];
  if (stats.events) process.push(`${stats.events.kept} events, ${(stats.events.bytes / 2 ** 20).toFixed(1)} MiB`);
  if (stats.events?.trouble) process.push(`events are not kept: ${stats.events.trouble}`);
  $("#process").textContent = process.join(" · ");
  fill("camera", list.map((c) => c.id));
  last = { time, list, stats };
}

// ---- events ---------------------------------------------------------------------------------------------

let nShown = PAGE;
const filter = $("#filter");

/** Completes the choices of a filter. */
function fill(name, values) {
  const select = filter.elements[name];
  for (const value of values) {
    if (![...select.options].some((option) => option.value === value)) select.append(element("option", { value }, value));
  }
}

async function refreshEvents() {
  const query = new URLSearchParams([...new FormData(filter)].filter(([, value]) => value));
  query.set("limit", nShown + 1);
  const answer = await fetch(`api/events?${query}`, { signal: AbortSignal.timeout(10_000) });
  if (answer.status === 404) {
    $("#no-events").textContent = "No events are kept: events.path in the config says where they shall be.";
    return;
  }
  if (!answer.ok) return;
  const events = await answer.json();
  fill("label", events.map((e) => e.label));
  fill("zone", events.flatMap((e) => e.stays.map((stay) => stay.zone)));
  $("#more").hidden = events.length <= nShown;
  $("#no-events").textContent = events.length ? "" : "Nothing yet.";
  const list = $("#events");
  const known = new Map([...list.children].map((item) => [item.dataset.id, item]));
  list.replaceChildren(...events.slice(0, nShown).map((e) => {
    const version = `${e.has_picture}${e.end}${e.last}${e.top_score}`;
    const old = known.get(e.id);
    return old?.dataset.version === version ? old : eventItem(e, version);
  }));
}

function eventItem(e, version) {
  const item = element("li");
  item.dataset.id = e.id;
  item.dataset.version = version;
  const button = element("button", { type: "button", className: "show" });
  const picture = e.has_picture
    ? element("img", { src: `api/events/${encodeURIComponent(e.id)}/crop.jpg?${e.top_score}`, alt: e.label, loading: "lazy" })
    : element("span", { className: "no-picture" });
  const seconds = Math.max(0, (e.end ?? e.last) - e.start);
  const when = element("span", { className: e.end ? "note" : "note now" }, `${moment(e.start)}, ${e.end ? `${seconds.toFixed(0)} s` : "still there"}`);
  button.append(picture, element("strong", {}, `${e.label} ${e.top_score.toFixed(2)}`), element("span", { className: "note" }, `${e.camera} `), when);
  button.addEventListener("click", () => showEvent(e));
  item.append(button, eventMarks(e));
  return item;
}

function showEvent(e) {
  const dialog = $("dialog#event");
  $("h2", dialog).textContent = `${e.label} #${e.track} at ${e.camera}`;
  const picture = $("img", dialog);
  picture.hidden = !e.has_picture;
  if (e.has_picture) picture.src = `api/events/${encodeURIComponent(e.id)}/snapshot.jpg?${e.top_score}`;
  const facts = {
    from: new Date(e.start * 1000).toLocaleString(),
    to: e.end ? new Date(e.end * 1000).toLocaleString() : "still there",
    "best score": e.top_score.toFixed(3),
    zones: e.stays.map((stay) => stay.zone).join(", ") || "none",
    lines: e.crossings.map((c) => `${c.line} to the ${c.direction}`).join(", ") || "none",
    id: e.id,
  };
  $("dl", dialog).replaceChildren(...Object.entries(facts).flatMap(([k, v]) => [element("dt", {}, k), element("dd", {}, v)]));
  dialog.showModal();
}

filter.addEventListener("change", () => { nShown = PAGE; refreshEvents().catch(() => {}); });
$("#more").addEventListener("click", () => { nShown += PAGE; refreshEvents().catch(() => {}); });

// ---- config ---------------------------------------------------------------------------------------------

$("#config").addEventListener("toggle", async () => {
  if ($("#config").open) $("#config pre").textContent = await ask("api/config").then((a) => a.text()).catch(() => "no answer");
});

// ---- over and over --------------------------------------------------------------------------------------

async function refresh() {
  try {
    await refreshStatus();
    $("#lost").hidden = true;
  } catch (e) {
    $("#lost").hidden = isLoginShown;
    if (!isLoginShown) console.warn(e);
  }
}

async function every(ms, work) {
  for (;;) {
    if (!document.hidden && !isLoginShown) await work();
    await sleep(ms);
  }
}
every(PAUSE.status, refresh);
every(PAUSE.events, () => refreshEvents().catch(() => {}));
every(PAUSE.learning, refreshLearning);
