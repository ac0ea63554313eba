// Marks: what people say of events and of places in a picture; and what passd learns from them.
//
// Loaded before page.js, whose words it uses once something happens. Shows itself only where something is learned.
"use strict";

const SAID = { "not-an-object": "not an object", right: "right", missed: "missed here" };
const N_THUMBS = 12; // marks shown of a camera
const SURE = 4000; // milliseconds for a second click
const LEAST = 6; // pixels on the screen: less is a click, no box
const HINT = "Choose a box, or draw one around what was missed.";

let learning = null; // what api/learn says; null: nothing is learned here
let marks = []; // newest first
let marksOf = null; // the numbers of marks that `marks` was asked for at
const answeredEvents = new Map(); // what was said of events, by id

const learnerOf = (camera) => learning?.cameras.find((c) => c.camera === camera);

/** Asks for something to be done; throws what passd says against it. */
async function tell(method, path, body) {
  const asked = { method, signal: AbortSignal.timeout(30_000) };
  if (body) Object.assign(asked, { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  const answer = await fetch(path, asked).catch(() => { throw new Error("passd does not answer"); });
  if (answer.status === 401) showLogin(true);
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => null);
  throw new Error(said?.error ?? `${path}: ${answer.status}`);
}

/** Does something at a click, with all `buttons` dead meanwhile; what became of it stands in `told`. */
async function doing(buttons, told, work) {
  const were = buttons.map((button) => button.disabled);
  for (const button of buttons) button.disabled = true;
  told.classList.remove("bad");
  try {
    told.textContent = await work();
  } catch (e) {
    told.classList.add("bad");
    told.textContent = e.message;
  } finally {
    buttons.forEach((button, i) => { button.disabled = were[i]; });
  }
}

function button(text, work) {
  const made = element("button", { type: "button" }, text);
  made.addEventListener("click", () => work(made));
  return made;
}

// ---- marks of events ------------------------------------------------------------------------------------

/** What can be said of an event. */
function eventMarks(e) {
  const row = element("div", { className: "says" });
  row.dataset.camera = e.camera;
  row.hidden = !learnerOf(e.camera);
  const told = element("span", { className: "note" }, answeredEvents.get(e.id) ?? "");
  told.setAttribute("role", "status");
  const say = (said) => button(said === "right" ? "Right" : "Not an object", () => doing(buttons, told, async () => {
    await tell("POST", "api/marks", { said, event: e.id });
    answeredEvents.set(e.id, `noted: ${SAID[said]}`);
    for (const one of buttons) one.hidden = true;
    refreshLearning();
    return answeredEvents.get(e.id);
  }));
  const buttons = [say("not-an-object"), say("right")];
  for (const one of buttons) {
    one.setAttribute("aria-label", `${one.textContent}: ${e.label} at ${e.camera}, ${moment(e.start)}`);
    one.hidden = answeredEvents.has(e.id);
  }
  row.append(...buttons, told);
  return row;
}

// ---- marks in a picture ---------------------------------------------------------------------------------

/** A camera's picture, held, with boxes to be chosen and drawn. */
class Marking {
  constructor(camera) {
    this.camera = camera;
    this.places = $(".places", camera.card);
    this.panel = $(".marking", camera.card);
    this.start = $(".mark", camera.card);
    this.told = $(".told", this.panel);
    this.choice = $(".choice", this.panel);
    this.frame = null; // what is held; null: the picture is live
    this.draft = null; // the box that is drawn: { at: [x1, y1, x2, y2], shown }
    this.drag = null; // a pointer that is down
    this.hasDrawn = false; // and its box is made
    this.start.addEventListener("click", () => this.open());
    $(".add", this.panel).addEventListener("click", () => this.add());
    $(".done", this.panel).addEventListener("click", () => this.close());
    this.places.addEventListener("pointerdown", (e) => this.press(e));
    this.places.addEventListener("pointermove", (e) => this.move(e));
    this.places.addEventListener("pointerup", (e) => this.release(e));
    this.places.addEventListener("pointercancel", () => {
      if (this.drag?.isBox) this.discard();
      this.drag = null;
    });
    // The end of a drag is no choice of the box that lies there; a key has no such end.
    this.places.addEventListener("click", (e) => {
      if (this.hasDrawn && e.detail > 0) e.stopPropagation();
      this.hasDrawn = false;
    }, true);
  }

  async open() {
    this.start.disabled = true;
    $(".start-told", this.camera.card).textContent = "";
    try {
      const answer = await tell("POST", `${this.camera.url}/still`);
      const bytes = new Uint8Array(await answer.arrayBuffer());
      this.camera.isHeld = true;
      this.frame = await this.camera.draw(bytes, true);
    } catch (e) {
      this.camera.isHeld = false;
      $(".start-told", this.camera.card).textContent = e.message;
      return;
    } finally {
      this.start.disabled = false;
    }
    const boxes = (this.frame.detections ?? []).map((d) => this.place(d));
    this.places.replaceChildren(...boxes);
    this.camera.card.classList.add("held");
    this.places.hidden = this.panel.hidden = false;
    this.start.hidden = true;
    this.say(HINT);
    (boxes[0] ?? $(".add", this.panel)).focus();
  }

  close() {
    if (!this.frame) return;
    this.frame = this.draft = this.drag = null;
    this.camera.isHeld = false;
    this.camera.shown = null; // the newest one, drawn anew
    this.camera.card.classList.remove("held");
    this.places.replaceChildren();
    this.choice.replaceChildren();
    this.places.hidden = this.panel.hidden = true;
    this.start.hidden = !learnerOf(this.camera.id);
    if (!this.start.hidden) this.start.focus();
  }

  /** Whether there is something to mark, or not any more. */
  offer() {
    const isLearned = Boolean(learnerOf(this.camera.id));
    if (!isLearned) this.close();
    this.start.hidden = !isLearned || this.frame !== null;
  }

  say(text) {
    this.told.classList.remove("bad");
    this.told.textContent = text;
  }

  /** Puts an element where a box is. */
  put(shown, [x1, y1, x2, y2]) {
    const { width, height } = this.frame;
    const part = (v, of) => Math.max(0, Math.min(100, (100 * v) / of));
    const [left, top] = [part(x1, width), part(y1, height)];
    Object.assign(shown.style, {
      left: `${left}%`, top: `${top}%`, width: `${part(x2, width) - left}%`, height: `${part(y2, height) - top}%`,
    });
  }

  /** A box that was reported. */
  place(d) {
    const name = `${d.label} ${d.score.toFixed(2)}`;
    const shown = button("", () => this.choose(shown, d, name));
    shown.className = `place ${d.source}`;
    shown.title = name;
    shown.setAttribute("aria-label", name);
    shown.append(element("span", {}, name));
    this.put(shown, d.box);
    return shown;
  }

  choose(shown, d, name) {
    this.discard();
    shown.classList.add("chosen");
    this.say(name);
    const say = (said, text) => button(text, () => this.send({ said, label: d.label, box: d.box }, () => {
      shown.classList.remove("chosen");
      shown.classList.add("said");
    }));
    this.choice.replaceChildren(say("not-an-object", "Not an object"), say("right", "Right"));
    this.choice.firstElementChild.focus();
  }

  /** Sends a mark of the picture that is held. */
  send(mark, then) {
    const { camera, frame } = this;
    return doing([...this.choice.children], this.told, async () => {
      await tell("POST", "api/marks", { camera: camera.id, frame: frame.frame, ...mark });
      refreshLearning();
      if (this.frame !== frame) return ""; // it is live again
      then();
      this.choice.replaceChildren();
      $(".done", this.panel).focus();
      return `noted: ${mark.label ?? "this"}, ${SAID[mark.said]}`;
    });
  }

  /** Pixels of the camera's picture, of a pointer. */
  at(e) {
    const area = this.places.getBoundingClientRect();
    const within = (v, most) => Math.max(0, Math.min(most, v));
    return [
      within(((e.clientX - area.left) / area.width) * this.frame.width, this.frame.width),
      within(((e.clientY - area.top) / area.height) * this.frame.height, this.frame.height),
    ];
  }

  press(e) {
    this.hasDrawn = false;
    if (!this.frame || !e.isPrimary || e.button !== 0) return;
    this.drag = { id: e.pointerId, x: e.clientX, y: e.clientY, from: this.at(e), isBox: false };
  }

  move(e) {
    const { drag } = this;
    if (drag?.id !== e.pointerId) return;
    if (!drag.isBox && Math.hypot(e.clientX - drag.x, e.clientY - drag.y) < LEAST) return;
    if (!drag.isBox) {
      drag.isBox = true;
      this.places.setPointerCapture(e.pointerId);
      this.begin();
    }
    const [[ax, ay], [bx, by]] = [drag.from, this.at(e)];
    this.size([Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)]);
  }

  release(e) {
    const { drag } = this;
    if (drag?.id !== e.pointerId) return;
    this.drag = null;
    if (!drag.isBox) return;
    this.hasDrawn = true;
    this.ask();
  }

  /** A box by keys alone. */
  add() {
    const { width, height } = this.frame;
    this.begin();
    this.size([0.4 * width, 0.4 * height, 0.6 * width, 0.6 * height]);
    this.ask();
    this.draft.shown.focus();
  }

  discard() {
    this.draft?.shown.remove();
    this.draft = null;
    for (const one of this.places.children) one.classList.remove("chosen");
    this.choice.replaceChildren();
  }

  begin() {
    this.discard();
    const shown = element("div", { className: "draft", tabIndex: 0 });
    shown.setAttribute("role", "group");
    shown.setAttribute("aria-label", "the new box: arrows move it, with Shift they size it");
    shown.addEventListener("keydown", (e) => this.nudge(e));
    this.draft = { at: [0, 0, 0, 0], shown };
    this.places.append(shown);
  }

  size(box) {
    this.draft.at = box;
    this.put(this.draft.shown, box);
  }

  nudge(e) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key];
    if (!step) return;
    e.preventDefault();
    const { width, height } = this.frame;
    let [x1, y1, x2, y2] = this.draft.at;
    const [dx, dy] = [(step[0] * width) / 100, (step[1] * height) / 100];
    if (e.shiftKey) {
      [x2, y2] = [Math.max(x1 + width / 100, Math.min(width, x2 + dx)), Math.max(y1 + height / 100, Math.min(height, y2 + dy))];
    } else {
      const [mx, my] = [Math.max(-x1, Math.min(width - x2, dx)), Math.max(-y1, Math.min(height - y2, dy))];
      [x1, y1, x2, y2] = [x1 + mx, y1 + my, x2 + mx, y2 + my];
    }
    this.size([x1, y1, x2, y2]);
  }

  /** What it is that was drawn around. */
  ask() {
    const select = element("select");
    select.setAttribute("aria-label", "what is there");
    select.append(...(learnerOf(this.camera.id)?.labels ?? []).map((label) => element("option", { value: label }, label)));
    select.value = this.label && [...select.options].some((o) => o.value === this.label) ? this.label : select.options[0]?.value;
    const missed = button("Missed here", () => {
      const { draft } = this;
      this.label = select.value; // most often the next one is of the same kind
      this.send({ said: "missed", label: select.value, box: draft.at.map((v) => Math.round(10 * v) / 10) }, () => {
        draft.shown.className = "place said";
        draft.shown.removeAttribute("tabindex");
        if (this.draft === draft) this.draft = null;
      });
    });
    const discard = button("Discard", () => { this.discard(); this.say(HINT); });
    this.say("What is there?");
    this.choice.replaceChildren(select, missed, discard);
    select.focus({ preventScroll: true });
  }
}

document.addEventListener("keydown", (e) => {
  if (e.key !== "Escape" || document.querySelector("dialog[open]")) return;
  for (const camera of cameras.values()) camera.marking.close();
});

// ---- what is learned ------------------------------------------------------------------------------------

async function refreshLearning() {
  try {
    learning = last?.stats.learns ? await askJson("api/learn") : null;
    const numbers = learning?.cameras.map((c) => `${c.camera} ${c.marks}`).join() ?? null;
    if (numbers !== marksOf) {
      marks = learning ? await askJson("api/marks") : [];
      marksOf = numbers;
    }
  } catch {
    return; // that passd does not answer is said elsewhere
  }
  for (const camera of cameras.values()) camera.marking.offer();
  for (const row of document.querySelectorAll("#events .says")) row.hidden = !learnerOf(row.dataset.camera);
  $("#learning").hidden = !learning;
  const list = $("#learners");
  const known = new Map([...list.children].map((card) => [card.dataset.learner, card]));
  list.replaceChildren(...(learning?.cameras ?? []).map((c) => {
    const card = known.get(c.camera) ?? learnerCard(c.camera);
    describeLearner(card, c);
    return card;
  }));
  const budget = learning?.budget;
  $("#budget").textContent = budget ? `${Math.round(budget.used_s)} of ${Math.round(budget.daily_s)} s of learning used today` : "";
}

function learnerCard(camera) {
  const card = $("template#learner").content.firstElementChild.cloneNode(true);
  card.dataset.learner = camera;
  $(".name", card).textContent = camera;
  const told = $(".told", card);
  const ask = (control, done) => doing([...$(".controls", card).children], told, async () => {
    await tell("POST", `api/learn/${encodeURIComponent(camera)}/${control}`);
    marksOf = null; // they may be gone
    refreshLearning();
    return done;
  });
  const sure = (control, text, done) => {
    const made = button(text, () => {
      if (made.dataset.sure) {
        calm();
        ask(control, done);
        return;
      }
      made.dataset.sure = "asked";
      made.textContent = `${text}: really?`;
      setTimeout(calm, SURE);
    });
    const calm = () => {
      delete made.dataset.sure;
      made.textContent = text;
    };
    return made;
  };
  const controls = [
    button("Learn now", () => ask("run", "It begins.")),
    button("Accept", () => ask("accept", "What was learned is in use.")),
    button("Roll back", () => ask("rollback", "The one before is in use.")),
    sure("factory", "Factory", "The model is as it came."),
    sure("forget", "Forget", "Marks and pictures are erased."),
  ];
  controls[3].title = "Back to the model as it came";
  controls[4].title = "Erases marks and pictures";
  controls[1].dataset.needs = "waiting";
  $(".controls", card).append(...controls);
  return card;
}

function describeLearner(card, c) {
  const state = $(".state", card);
  state.className = `state ${{ learning: "live", shadow: "connecting", waiting: "connecting", stopped: "stalled" }[c.state] ?? ""}`;
  state.textContent = c.state;
  const mib = (c.bytes / 2 ** 20).toFixed(1);
  const group = c.group && c.group !== c.camera ? [`group ${c.group}`] : [];
  const facts = [`mode ${c.mode}`, ...group, `model ${c.model}`, `${c.marks} marks`, `${c.samples} samples, ${mib} MiB`];
  $(".facts", card).textContent = facts.join(" · ");
  const bar = $("progress", card);
  bar.hidden = c.state !== "learning" && c.state !== "paused";
  bar.value = c.progress ?? 0;
  $(".trouble", card).textContent = c.trouble ?? "";
  $("[data-needs=waiting]", card).hidden = !c.waiting;
  $(".waiting", card).textContent = c.waiting ? `Version ${c.waiting.version} waits to be accepted: ${judged(c.waiting.held_out)}.` : "";
  $(".last", card).textContent = c.last ? lastRun(c.last) : "Nothing was learned yet.";
  drawCurve($(".curve", card), c.last?.curve);
  $(".curve-title", card).textContent = c.last?.curve?.length > 1 ? "loss over the last run" : "";
  drawHeldOut($(".held-out", card), (c.waiting?.held_out ? c.waiting : c.last)?.held_out);
  refreshPairs(card, c);
  showMarks($(".marks", card), c.camera);
}

const points = (standing) => (typeof standing?.ap50 === "number" ? standing.ap50.toFixed(3) : "none");

/** Before and after in words. */
function judged(held) {
  if (!held?.before || !held.after) return "nothing was held out";
  const { before, after } = held;
  return `AP50 ${points(before)} → ${points(after)}, found ${before.n_found} → ${after.n_found} of ${after.n_objects}, ` +
    `stray ${before.n_stray} → ${after.n_stray}, false alarms ${before.n_false} → ${after.n_false}`;
}

/** What the model's gates do with the weights, in words. */
function gated(gates) {
  if (!gates) return "";
  const { before, after, said } = gates;
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  const both = (key) => `${percent(before[key])} → ${percent(after[key])}`;
  const numbers = before && after ? ` Gates: agreement ${both("agreement")}, work ${both("executed")}.` : "";
  return `${numbers}${said ? ` ${said[0].toUpperCase()}${said.slice(1)}.` : ""}`;
}

function lastRun(run) {
  const when = `Last run: ${moment(run.time)}, ${(run.seconds ?? 0).toFixed(1)} s.`;
  const refused = run.refused ? ` Refused: ${run.refused}.` : "";
  return `${when}${refused}${run.held_out ? ` Held out: ${judged(run.held_out)}.` : ""}${gated(run.gates)}`;
}

function drawCurve(svg, curve) {
  const values = (curve ?? []).filter(Number.isFinite);
  svg.toggleAttribute("hidden", values.length < 2);
  if (values.length < 2) return;
  const most = Math.max(...values, 1e-9);
  const line = values.map((v, i) => `${(360 * i) / (values.length - 1)},${(58 - 56 * (v / most)).toFixed(2)}`);
  svg.replaceChildren(shape("path", { d: `M0,60 L${line.join(" L")} L360,60 Z` }), shape("polyline", { points: line.join(" ") }));
  svg.setAttribute("aria-label", `loss: from ${values[0].toFixed(3)} to ${values.at(-1).toFixed(3)}`);
}

/** Two bars a measure: before and after. */
function drawHeldOut(svg, held) {
  const isThere = Boolean(held?.before && held.after);
  svg.toggleAttribute("hidden", !isThere);
  if (!isThere) return;
  const { before, after } = held;
  const rows = [
    ["AP50", before.ap50 ?? 0, after.ap50 ?? 0, 1, 2],
    ["found", before.n_found, after.n_found, after.n_objects, 0],
    ["stray", before.n_stray, after.n_stray, 0, 0],
    ["false alarms", before.n_false, after.n_false, 0, 0],
  ];
  const parts = rows.flatMap(([name, was, is, most, digits], i) => {
    const y = 26 * i;
    const wide = (v) => (150 * v) / Math.max(most, was, is, 1e-9);
    return [
      shape("text", { x: 0, y: y + 14 }, name),
      shape("rect", { class: "before", x: 90, y: y + 1, width: wide(was), height: 8 }),
      shape("rect", { class: "after", x: 90, y: y + 11, width: wide(is), height: 8 }),
      shape("text", { x: 250, y: y + 14 }, `${was.toFixed(digits)} → ${is.toFixed(digits)}`),
    ];
  });
  svg.replaceChildren(...parts);
  svg.setAttribute("aria-label", `held out, before and after: ${judged(held)}`);
}

/** Asks for what the last run changed, once a run; and anew where marks came or went, as pictures may have gone with them. */
async function refreshPairs(card, c) {
  const wanted = c.last ? `${c.last.time} ${c.marks}` : "";
  if (card.dataset.pairs === wanted) return;
  card.dataset.pairs = wanted;
  let pairs = [];
  try {
    if (c.last) pairs = await askJson(`api/learn/${encodeURIComponent(c.camera)}/pairs`);
  } catch {
    if (card.dataset.pairs === wanted) delete card.dataset.pairs; // another time
    return;
  }
  if (card.dataset.pairs !== wanted) return;
  $(".pairs", card).replaceChildren(...pairs.map(pairItem));
  $(".pairs-title", card).hidden = pairs.length === 0;
}

/** A picture twice: with what was reported, and with what is. */
function pairItem(pair) {
  const item = element("li", { className: "pair" });
  const url = `api/learn/${encodeURIComponent(pair.camera)}/pairs/${encodeURIComponent(pair.sample)}/picture.jpg`;
  const side = (name, boxes, kind) => {
    const words = boxes.map((b) => `${b.label} ${b.score.toFixed(2)}`).join(", ") || "nothing";
    const picture = element("img", { src: url, alt: `${name}: ${words}` });
    picture.addEventListener("error", () => { item.hidden = true; });
    const look = element("div", { className: "look" });
    look.style.aspectRatio = `${pair.width} / ${pair.height}`;
    look.append(picture, ...boxes.map((b) => pairBox(b, pair, kind)));
    const figure = element("figure");
    figure.append(look, element("figcaption", {}, name));
    return figure;
  };
  item.append(side(`before, ${moment(pair.time)}`, pair.before, "gone"), side("after", pair.after, "new"));
  return item;
}

/** A box over a picture; words stand at those that one of the two reports alone. */
function pairBox(b, { width, height }, kind) {
  const [x1, y1, x2, y2] = b.box;
  const part = (v, of) => Math.max(0, Math.min(100, (100 * v) / of));
  const [left, top] = [part(x1, width), part(y1, height)];
  const shown = element("span", { title: `${b.label} ${b.score.toFixed(2)}` });
  if (b.differs) shown.classList.add(kind);
  shown.classList.toggle("at-right", left > 60);
  Object.assign(shown.style, { left: `${left}%`, top: `${top}%`, width: `${part(x2, width) - left}%`, height: `${part(y2, height) - top}%` });
  if (b.differs) shown.append(element("b", {}, shown.title));
  return shown;
}

function showMarks(list, camera) {
  const known = new Map([...list.children].map((item) => [item.dataset.id, item]));
  const wanted = marks.filter((m) => m.camera === camera).slice(0, N_THUMBS).map((m) => known.get(m.id) ?? markItem(m));
  // Untouched if nothing is new: who is at a button stays there.
  if (wanted.length !== list.children.length || wanted.some((item, i) => item !== list.children[i])) list.replaceChildren(...wanted);
}

function markItem(m) {
  const item = element("li");
  item.dataset.id = m.id;
  const url = `api/marks/${encodeURIComponent(m.id)}`;
  const words = [SAID[m.said] ?? m.said, m.label].filter(Boolean).join(": ");
  const picture = element("img", { src: `${url}/picture.jpg`, alt: words, loading: "lazy" });
  picture.addEventListener("error", () => { picture.hidden = true; });
  const told = element("span", { className: "note" });
  told.setAttribute("role", "status");
  const undo = button("Undo", () => doing([undo], told, async () => {
    await tell("DELETE", url);
    marksOf = null;
    if (answeredEvents.delete(m.event)) $(`#events [data-id="${CSS.escape(m.event)}"]`)?.remove(); // it can be marked again
    refreshLearning();
    return "taken back";
  }));
  undo.setAttribute("aria-label", `Undo: ${words}, ${moment(m.time)}`);
  item.append(picture, element("strong", {}, words), element("span", { className: "note" }, moment(m.time)), undo, told);
  return item;
}
