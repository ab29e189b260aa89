"use strict";

// The page keeps no decision of its own: each is sent, confirmed to be on disk, and only then shown.

const BACKDROPS = ["checkerboard", "black", "white", "red", "green"];
const ZOOMS = [0, 1, 2, 4, 8]; // 0 fits the picture into its frame
const AHEAD = 4; // pictures fetched before they are asked for

const at = (id) => document.getElementById(id);
const stage = at("stage");

let state = null; // what the server said at the start, its decisions kept up to date
let index = 0;
let ended = false; // every item is decided and the end is shown
let marked = new Set(); // reasons marked for the item at hand
let backdrop = 0;
let zoom = 0;
let view = -1; // -1 shows all
let busy = false; // a key that comes before the next picture shows was not meant for it
const described = new Map(); // index -> promise of its caption and views
const images = new Map(); // address -> Image, so that what was preloaded stays

async function ask(route, body) {
  const how = body === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  let answer;
  try {
    answer = await fetch(route, how);
  } catch {
    throw new Error("The picker no longer answers. What was confirmed is kept; start the command again to go on.");
  }
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.error);
  return value;
}

async function act(work) {
  if (busy) return;
  busy = true;
  try {
    await work();
    at("trouble").hidden = true;
  } catch (error) {
    at("trouble").textContent = error.message;
    at("trouble").hidden = false;
  } finally {
    busy = false;
  }
}

function describe(number) {
  if (!described.has(number)) {
    const found = ask(`items/${number}`);
    found.catch(() => described.delete(number)); // asked again the next time
    described.set(number, found);
  }
  return described.get(number);
}

function imageOf(number, view) {
  const address = `pictures/${number}/${view}`;
  if (!images.has(address)) {
    const image = new Image();
    image.decoding = "async";
    image.src = address;
    images.set(address, image);
    if (images.size > 64) images.delete(images.keys().next().value);
  }
  return images.get(address);
}

function preload() {
  for (let step = 1; step <= AHEAD; step += 1) {
    const number = index + step;
    if (number >= state.decisions.length) return;
    describe(number).then(
      (item) => item.views.forEach((_, each) => imageOf(number, each)),
      () => {},
    );
  }
}

function nextOpen(from) {
  const count = state.decisions.length;
  for (let step = 0; step < count; step += 1) {
    const number = (from + step) % count;
    if (state.decisions[number] === null) return number;
  }
  return -1;
}

async function show(number) {
  const item = await describe(number);
  await Promise.allSettled(item.views.map((_, each) => imageOf(number, each).decode()));
  index = number;
  ended = false;
  const decision = state.decisions[index];
  marked = new Set(decision ? decision.reasons : []);
  if (view >= item.views.length) view = -1;
  stage.replaceChildren(...item.views.map((name, each) => figure(name, each)));
  at("caption").textContent = item.caption;
  at("place").textContent = `${index + 1} of ${state.decisions.length}` + (item.caption === item.key ? "" : ` · ${item.key}`);
  refresh();
  preload();
}

function showEnd() {
  ended = true;
  const counts = tally();
  const end = document.createElement("div");
  end.className = "end";
  end.innerHTML = "<h2>All decided</h2><p></p><p>Finish ends the session. Back and Undo still work.</p>";
  end.querySelector("p").textContent =
    `${state.good}: ${counts.good}, ${state.bad}: ${counts.bad}, skipped: ${counts.skip}`;
  stage.replaceChildren(end);
  at("caption").textContent = "";
  at("place").textContent = "";
  marked = new Set();
  refresh();
  at("finish").focus();
}

function figure(name, number) {
  const whole = document.createElement("figure");
  const frame = document.createElement("div");
  frame.className = "frame";
  frame.tabIndex = 0;
  frame.setAttribute("role", "region");
  frame.setAttribute("aria-label", name);
  const image = imageOf(index, number);
  image.alt = `${name} of item ${index + 1}`;
  image.draggable = false;
  image.onload = fit;
  image.onerror = () => {
    const text = document.createElement("p");
    text.textContent = "This picture cannot be shown: it may be damaged.";
    frame.replaceChildren(text);
    images.delete(`pictures/${index}/${number}`);
  };
  if (image.complete && image.naturalWidth === 0) image.onerror();
  else frame.append(image);
  frame.addEventListener("scroll", () => together(frame));
  frame.addEventListener("pointerdown", (event) => drag(frame, event));
  const caption = document.createElement("figcaption");
  caption.textContent = name;
  whole.append(frame, caption);
  return whole;
}

// Frames scroll as one, so that the same spot is seen in each.
function together(moved) {
  for (const frame of stage.querySelectorAll(".frame")) {
    if (frame !== moved && (frame.scrollLeft !== moved.scrollLeft || frame.scrollTop !== moved.scrollTop)) {
      frame.scrollLeft = moved.scrollLeft;
      frame.scrollTop = moved.scrollTop;
    }
  }
}

function drag(frame, start) {
  if (zoom === 0 || start.button !== 0) return;
  const left = frame.scrollLeft;
  const top = frame.scrollTop;
  const move = (event) => {
    frame.scrollLeft = left - (event.clientX - start.clientX);
    frame.scrollTop = top - (event.clientY - start.clientY);
  };
  frame.setPointerCapture(start.pointerId);
  frame.addEventListener("pointermove", move);
  frame.addEventListener("pointerup", () => frame.removeEventListener("pointermove", move), { once: true });
}

function fit() {
  for (const frame of stage.querySelectorAll(".frame")) {
    const image = frame.querySelector("img");
    if (!image || !image.naturalWidth) continue;
    const fitting = Math.min(frame.clientWidth / image.naturalWidth, frame.clientHeight / image.naturalHeight);
    const scale = ZOOMS[zoom] || fitting;
    image.style.width = `${Math.floor(image.naturalWidth * scale)}px`;
    image.style.height = `${Math.floor(image.naturalHeight * scale)}px`;
    image.className = BACKDROPS[backdrop];
    frame.classList.toggle("zoomed", zoom > 0);
  }
}

function tally() {
  const counts = { good: 0, bad: 0, skip: 0, open: 0 };
  for (const decision of state.decisions) counts[decision ? decision.answer : "open"] += 1;
  return counts;
}

function refresh() {
  const counts = tally();
  const count = state.decisions.length;
  const done = count - counts.open;
  const decision = ended ? null : state.decisions[index];
  stage.className = decision ? decision.answer : "";
  at("tally").innerHTML = "<span></span><span class='good-count'></span><span class='bad-count'></span>";
  const [all, good, bad] = at("tally").children;
  all.textContent = `${done} of ${count} decided`;
  good.textContent = `${state.good} ${counts.good}`;
  bad.textContent = `${state.bad} ${counts.bad}`;
  at("progress").setAttribute("aria-valuemax", count);
  at("progress").setAttribute("aria-valuenow", done);
  at("progress").firstElementChild.style.width = `${(100 * done) / count}%`;
  for (const button of at("reasons").children) {
    button.setAttribute("aria-pressed", String(marked.has(Number(button.dataset.number))));
  }
  const frames = [...stage.querySelectorAll("figure")];
  frames.forEach((each, number) => { each.hidden = view >= 0 && view !== number; });
  at("view").lastElementChild.textContent = view < 0 ? "all" : frames[view]?.querySelector("figcaption").textContent ?? "all";
  at("view").disabled = frames.length < 2;
  at("zoom").lastElementChild.textContent = zoom === 0 ? "fit" : `${ZOOMS[zoom]}×`;
  for (const button of at("backdrops").children) {
    const chosen = button.className === BACKDROPS[backdrop];
    button.setAttribute("aria-checked", String(chosen));
    button.tabIndex = chosen ? 0 : -1;
  }
  fit();
}

const say = (text) => { at("said").textContent = text; };

async function decide(answer) {
  if (ended) return;
  const reasons = answer === "bad" ? [...marked].sort() : [];
  const kept = await ask("decisions", { index, answer, reasons });
  state.decisions[kept.index] = kept.decision;
  const words = { good: state.good, bad: state.bad, skip: "Skip" }[answer];
  say(`${words}. Item ${index + 1} of ${state.decisions.length}.`);
  await toOpen(index + 1);
}

async function toOpen(from) {
  const open = nextOpen(from % state.decisions.length);
  if (open < 0) showEnd();
  else await show(open);
}

async function undo() {
  const taken = await ask("undo", {});
  if (taken.index === null) {
    say("Nothing to undo.");
    return;
  }
  state.decisions[taken.index] = taken.decision;
  await show(taken.index);
  say(`Undone: item ${taken.index + 1}.`);
}

async function step(by) {
  const last = state.decisions.length - 1;
  if (ended) await show(by < 0 ? index : 0);
  else await show(Math.min(last, Math.max(0, index + by)));
}

function mark(number) {
  if (ended || !state.reasons.some((reason) => reason.number === number)) return;
  if (marked.has(number)) marked.delete(number);
  else marked.add(number);
  refresh();
}

async function finish() {
  const open = tally().open;
  if (open && !window.confirm(`${open} of ${state.decisions.length} are still without a decision. Finish for now?`)) return;
  await ask("finish", {});
  document.removeEventListener("keydown", onKey);
  for (const part of document.querySelectorAll("header, footer")) part.hidden = true;
  stage.className = "";
  stage.innerHTML = "<div class='end'><h2>Saved. You can close this page.</h2></div>";
}

function setZoom(next) {
  zoom = Math.min(ZOOMS.length - 1, Math.max(0, next));
  refresh();
  for (const frame of stage.querySelectorAll(".frame")) {
    frame.scrollLeft = (frame.scrollWidth - frame.clientWidth) / 2;
    frame.scrollTop = (frame.scrollHeight - frame.clientHeight) / 2;
  }
}

function setBackdrop(next) {
  backdrop = (next + BACKDROPS.length) % BACKDROPS.length;
  refresh();
}

function cycleView() {
  const count = stage.querySelectorAll("figure").length;
  if (count > 1) view = view + 1 >= count ? -1 : view + 1;
  refresh();
}

const KEYS = {
  g: () => act(() => decide("good")),
  b: () => act(() => decide("bad")),
  s: () => act(() => decide("skip")),
  u: () => act(undo),
  n: () => act(() => toOpen(index + 1)),
  arrowleft: () => act(() => step(-1)),
  arrowright: () => act(() => step(1)),
  c: () => setBackdrop(backdrop + 1),
  v: cycleView,
  z: () => setZoom((zoom + 1) % ZOOMS.length),
  "+": () => setZoom(zoom + 1),
  "=": () => setZoom(zoom + 1),
  "-": () => setZoom(zoom - 1),
  "?": () => at("keys").showModal(),
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || at("keys").open) return;
  const key = event.key.toLowerCase();
  const inside = event.target.closest(".backdrops, .frame.zoomed");
  if (inside && key.startsWith("arrow")) return; // these move the choice, or the picture
  if (/^[1-9]$/.test(key)) act(() => mark(Number(key)));
  else if (Object.hasOwn(KEYS, key)) KEYS[key]();
  else return;
  event.preventDefault();
}

function buildButtons() {
  at("reasons").replaceChildren(...state.reasons.map(({ number, text }) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.number = number;
    button.setAttribute("aria-keyshortcuts", String(number));
    const key = document.createElement("kbd");
    key.textContent = number;
    button.append(key, ` ${text}`);
    button.addEventListener("click", () => act(() => mark(number)));
    return button;
  }));
  at("backdrops").replaceChildren(...BACKDROPS.map((name, number) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = name;
    button.title = `Backdrop: ${name} (C)`;
    button.setAttribute("role", "radio");
    button.setAttribute("aria-label", name);
    button.addEventListener("click", () => setBackdrop(number));
    return button;
  }));
  at("backdrops").addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!by) return;
    setBackdrop(backdrop + by);
    at("backdrops").children[backdrop].focus();
    event.preventDefault();
  });
}

async function start() {
  state = await ask("state");
  document.title = `${state.text} · Multiplane`;
  at("question").textContent = state.text;
  at("title").textContent = state.title;
  at("good").lastElementChild.textContent = state.good;
  at("bad").lastElementChild.textContent = state.bad;
  at("key-good").textContent = `${state.good.toLowerCase()}, and on to the next`;
  at("key-bad").textContent = `${state.bad.toLowerCase()}, with the reasons marked`;
  buildButtons();
  const buttons = { good: "g", bad: "b", skip: "s", undo: "u", back: "arrowleft", next: "arrowright", open: "n", zoom: "z", view: "v", help: "?" };
  for (const [id, key] of Object.entries(buttons)) at(id).addEventListener("click", () => KEYS[key]());
  at("finish").addEventListener("click", () => act(finish));
  document.addEventListener("keydown", onKey);
  window.addEventListener("resize", fit);
  await toOpen(0);
  stage.focus();
}

act(start);
