// All samples in two dimensions, coloured by class or by issue; the sample under the pointer is shown.

const NO_PLACE = 65535;
const CELLS = 64; // on a side, of the grid that finds the sample under the pointer
const HUES = ["#3b7dd8", "#e08a1e", "#2f9e6b", "#c2457c", "#7a5bd0", "#1fa3b5", "#a66f2e", "#8a9a1f", "#d9534a", "#5b6fa8"];

/** @typedef {{scale: number, x: number, y: number}} View the part of the map that is seen: its corner, and 1 / its side */

const WHOLE = { scale: 1, x: 0, y: 0 };
const CLOSEST = 60; // times the whole map

/** @typedef {{x: Float32Array, y: Float32Array, cells: Map<number, number[]>, without: number}} Places in [0, 1] */

/** @type {Places|undefined} */
let knownPlaces;

const places = () => (knownPlaces ??= placesOf());

/** @returns {Places} */
function placesOf() {
  const packed = new Uint16Array(bytesOf(raw.map));
  const [x, y] = [new Float32Array(raw.n), new Float32Array(raw.n)];
  const cells = new Map();
  let without = 0;
  for (let i = 0; i < raw.n; i++) {
    if (packed[2 * i] === NO_PLACE) {
      x[i] = y[i] = NaN;
      without++;
      continue;
    }
    x[i] = packed[2 * i] / (NO_PLACE - 1);
    y[i] = 1 - packed[2 * i + 1] / (NO_PLACE - 1);
    const cell = cellOf(x[i], y[i]);
    const held = cells.get(cell);
    if (held) held.push(i);
    else cells.set(cell, [i]);
  }
  return { x, y, cells, without };
}

const inGrid = (value) => Math.min(CELLS - 1, Math.max(0, Math.floor(value * CELLS)));
const cellOf = (x, y) => inGrid(x) + CELLS * inGrid(y);

/** The nearest sample within a distance, -1: none. @param {Places} places */
function nearestTo(places, x, y, reach) {
  let [best, least] = [-1, reach * reach];
  for (let cy = inGrid(y - reach); cy <= inGrid(y + reach); cy++)
    for (let cx = inGrid(x - reach); cx <= inGrid(x + reach); cx++)
      for (const i of places.cells.get(cx + CELLS * cy) ?? []) {
        const gap = (places.x[i] - x) ** 2 + (places.y[i] - y) ** 2;
        if (gap < least) [best, least] = [i, gap];
      }
  return best;
}

/** The colour of every sample, as the number of an entry; the first is the background. @param {string} by */
function coloursOf(by) {
  const entries = [{ name: by === "class" ? "no class" : "not flagged", colour: "#9aa3ab", hits: 0 }];
  const of = new Uint16Array(raw.n);
  if (by === "class" && given !== null) {
    entries.push(...raw.classes.map((name, i) => ({ name, colour: i < HUES.length ? HUES[i] : `hsl(${(i * 137.5) % 360} 55% ${40 + (i % 3) * 10}%)`, hits: 0 })));
    of.set(given);
  } else if (by !== "class")
    issues.forEach((issue, place) => {
      const isHit = flagger(issue);
      entries.push({ name: raw.issues[issue].title, colour: raw.issues[issue].colour || HUES[place % HUES.length], hits: 0 });
      for (let i = 0; i < raw.n; i++) if (isHit(i)) of[i] = place + 1;
    });
  for (let i = 0; i < raw.n; i++) entries[of[i]].hits++;
  return { entries, of };
}

/** @returns {HTMLElement} */
function mapView() {
  const where = places();
  const canvas = el("canvas", { class: "map", role: "img", tabindex: 0, "aria-label": `Map of ${count(raw.n)} samples. Choose a class or an issue below to list samples without the pointer.` });
  const tip = el("div", { class: "tip", hidden: true });
  const by = el("select", { "aria-label": "Colours" }, ...(given === null ? [] : [el("option", { value: "class" }, "Colour by class")]), el("option", { value: "issue", selected: true }, "Colour by issue"));
  const legend = el("ul", { class: "legend" });
  const chosen = lassoList((index) => { marked = index; draw(); });
  let colours = coloursOf(by.value);
  let marked = -1;
  /** @type {[number, number][]} */
  let path = [];
  /** @type {View} */
  let view = WHOLE;
  /** @type {[number, number]|null} where the map is held to be moved */
  let held = null;

  const draw = () => drawMap(canvas, where, colours, chosen.selected(), path, marked, view);
  const see = (x, y, scale) => {
    const most = 1 - 1 / scale;
    view = { scale, x: Math.min(most, Math.max(0, x)), y: Math.min(most, Math.max(0, y)) };
    tip.hidden = true;
    canvas.dataset.scale = scale.toFixed(2);
    draw();
  };
  /** @param {number} by @param {[number, number]} [around] stays where it is */
  const zoomBy = (by, [x, y] = [view.x + 0.5 / view.scale, view.y + 0.5 / view.scale]) => {
    const scale = Math.min(CLOSEST, Math.max(1, view.scale * by));
    see(x - ((x - view.x) * view.scale) / scale, y - ((y - view.y) * view.scale) / scale, scale);
  };
  const pan = (x, y) => see(view.x + x / view.scale, view.y + y / view.scale, view.scale);
  const recolour = () => {
    colours = coloursOf(by.value);
    const known = colours.entries.map((entry, i) => ({ ...entry, i })).filter((entry) => entry.hits);
    const shown = known.sort((a, b) => b.hits - a.hits).slice(0, 14);
    legend.replaceChildren(...shown.map((entry) => el("li", {}, swatch(entry.colour), named(entry.name), el("span", { class: "soft" }, ` ${count(entry.hits)}`))), ...(known.length > shown.length ? [el("li", { class: "soft" }, `and ${known.length - shown.length} more`)] : []));
    draw();
  };
  by.addEventListener("change", recolour);
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    const inset = INSET / box.width;
    const on = (part) => (part - inset) / (1 - 2 * inset);
    return /** @type {[number, number]} */ ([view.x + on((event.clientX - box.left) / box.width) / view.scale, view.y + on((event.clientY - box.top) / box.height) / view.scale]);
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (moves.getAttribute("aria-pressed") === "true" || event.shiftKey || event.button === 1) held = at(event);
    else path = [at(event)];
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY / 400), at(event));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const acts = { "+": () => zoomBy(1.5), "=": () => zoomBy(1.5), "-": () => zoomBy(1 / 1.5), 0: () => see(0, 0, 1), ArrowLeft: () => pan(-0.1, 0), ArrowRight: () => pan(0.1, 0), ArrowUp: () => pan(0, -0.1), ArrowDown: () => pan(0, 0.1) };
    if (!acts[event.key] || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    acts[event.key]();
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = at(event);
    if (held !== null) return see(view.x + held[0] - x, view.y + held[1] - y, view.scale);
    if (path.length) {
      path.push([x, y]);
      tip.hidden = true;
      draw();
    } else hover(nearestTo(where, x, y, 0.02 / view.scale), event);
  });
  canvas.addEventListener("pointerup", () => {
    if (held !== null) return void (held = null);
    const drawn = path;
    path = [];
    chosen.choose(drawn.length > 2 ? within(where, drawn) : []);
    draw();
  });
  canvas.addEventListener("pointerleave", (event) => hover(-1, event));
  const hover = (index, event) => {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    tip.hidden = index < 0;
    if (index !== marked && path.length === 0) {
      marked = index;
      draw();
      if (index >= 0) tip.replaceChildren(...(isShown(String(index)) ? [thumbnailOf(String(index))] : []), caption(String(index)), el("span", { class: "soft" }, classOf(index) ? named(classOf(index)) : ""));
    }
    tip.style.left = `${100 * Math.min(x, 0.75)}%`;
    tip.style.top = `${100 * y}%`;
  };
  new ResizeObserver(draw).observe(canvas);
  onChange("threshold", recolour);
  onChange("theme", draw);
  const choose = el("div", { class: "filters" }, by,
    raw.classes.length > 0 && classSelect("List the samples of a class", "All classes", raw.classes, (cls) => { chosen.choose(cls === null ? [] : indicesWhere((i) => classOf(i) === cls)); draw(); }),
    el("select", { "aria-label": "List the flagged samples of an issue", change: (event) => { chosen.choose(event.target.value ? indicesWhere(flagger(event.target.value)) : []); draw(); } }, el("option", { value: "" }, "List an issue…"), ...issues.map((issue) => el("option", { value: issue }, raw.issues[issue].title))));
  const note = `${raw.projection || "Projection"} of the embeddings: near in the map is not always near in the embedding. Draw around samples to list them.${where.without ? ` ${count(where.without)} unreadable ones are not on it.` : ""}`;
  const moves = el("button", { type: "button", class: "small", "aria-pressed": "false", click: () => moves.setAttribute("aria-pressed", String(moves.getAttribute("aria-pressed") !== "true")) }, "Move");
  const button = (text, label, act) => el("button", { type: "button", class: "small", "aria-label": label, click: act }, text);
  const buttons = el("div", { class: "zooms" }, button("+", "Zoom in", () => zoomBy(1.5)), button("−", "Zoom out", () => zoomBy(1 / 1.5)), button("Whole", "Whole map", () => see(0, 0, 1)), moves);
  const shown = el("div", { class: "map-view", recolour }, el("p", { class: "soft" }, note, el("span", { class: "hint" }, " Zoom with the wheel, move with Shift.")), choose, el("div", { class: "map-parts" }, el("div", { class: "plot" }, canvas, tip, buttons), el("div", { class: "beside" }, legend, chosen.root)));
  recolour();
  return shown;
}

/** @param {string} colour */
const swatch = (colour) => svg("svg", { class: "swatch", viewBox: "0 0 10 10", "aria-hidden": "true" }, svg("circle", { cx: 5, cy: 5, r: 5, fill: colour }));

/** @param {(index: number) => boolean} isHit */
const indicesWhere = (isHit) => Array.from({ length: raw.n }, (_, i) => i).filter(isHit);

const INSET = 6; // pixels around the map

/** @param {HTMLCanvasElement} canvas @param {Places} places @param {{entries: any[], of: Uint16Array}} colours @param {View} view */
function drawMap(canvas, places, colours, selected, path, marked, view) {
  const side = canvas.clientWidth;
  if (!side) return;
  const scale = Math.min(2, devicePixelRatio || 1);
  if (canvas.width !== Math.round(side * scale)) canvas.width = canvas.height = Math.round(side * scale);
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.clearRect(0, 0, canvas.width, canvas.height);
  const size = scale * (raw.n > 20_000 ? 1.5 : raw.n > 3000 ? 2.5 : 4) * Math.min(3, Math.sqrt(view.scale));
  const inset = INSET * scale;
  const across = (value) => inset + (value - view.x) * view.scale * (canvas.width - 2 * inset);
  const down = (value) => inset + (value - view.y) * view.scale * (canvas.width - 2 * inset);
  const byColour = colours.entries.map(() => /** @type {number[]} */ ([]));
  for (let i = 0; i < raw.n; i++) if (places.x[i] === places.x[i]) byColour[colours.of[i]].push(i);
  byColour.forEach((indices, entry) => {
    context.fillStyle = colours.entries[entry].colour;
    context.globalAlpha = entry === 0 ? 0.35 : 0.85;
    for (const i of indices) context.fillRect(across(places.x[i]) - size / 2, down(places.y[i]) - size / 2, size, size);
  });
  context.globalAlpha = 1;
  context.strokeStyle = getComputedStyle(canvas).color;
  context.lineWidth = scale;
  for (const i of selected.slice(0, 5000)) context.strokeRect(across(places.x[i]) - size, down(places.y[i]) - size, 2 * size, 2 * size);
  if (marked >= 0) {
    context.lineWidth = 2 * scale;
    context.beginPath();
    context.arc(across(places.x[marked]), down(places.y[marked]), 7 * scale, 0, 2 * Math.PI);
    context.stroke();
  }
  if (path.length < 2) return;
  context.beginPath();
  for (const [x, y] of path) context.lineTo(across(x), down(y));
  context.closePath();
  context.stroke();
}
