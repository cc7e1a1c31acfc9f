// The scores of all samples, and the cut that is dragged over them.

const BINS = 80;
const STEPS = 1000;

/** @param {string} issue */
function cutBar(issue) {
  const { sorted, end } = model(issue);
  const isFixed = issue === "leakage";
  const bars = barsOf(sorted, end);
  const limit = Math.min(end, raw.issues[issue].limit);
  const line = svg("line", { y1: 0, y2: 100 });
  const drawing = svg("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" }, ...bars.map((bar) => bar.rect), line);
  const range = el("input", { type: "range", min: 0, max: STEPS, step: 1, class: "cut", "aria-label": `Cut of ${words(issue)}` });
  const exact = el("input", { type: "number", min: 0, max: limit, step: "any", class: "exact", "aria-label": `Cut of ${words(issue)} as a score` });
  const told = el("output", { class: "told" });
  const reset = el("button", { type: "button", class: "quiet", click: () => setCut(issue, null) }, "Reset");
  range.addEventListener("input", () => setCut(issue, Math.min(limit, (end * range.valueAsNumber) / STEPS)));
  exact.addEventListener("change", () => (Number.isFinite(exact.valueAsNumber) ? setCut(issue, exact.valueAsNumber) : setCut(issue, null)));

  const show = () => {
    const cut = cutOf(issue);
    const at = cut === null ? 0 : Math.min(1, cut / end);
    for (const bar of bars) bar.rect.setAttribute("class", isBelow(bar.score, cut) ? "low" : "");
    line.setAttribute("x1", String(100 * at));
    line.setAttribute("x2", String(100 * at));
    line.toggleAttribute("hidden", cut === null);
    if (document.activeElement !== range || Math.abs(range.valueAsNumber - STEPS * at) > 1) range.value = String(Math.round(STEPS * at));
    exact.value = cut === null ? "" : score(cut);
    reset.hidden = !moved.has(issue);
    const text = cutText(issue);
    range.setAttribute("aria-valuetext", text);
    told.textContent = text;
  };
  onChange("cut", (which) => (which === issue || which === null || isFixed) && show());
  show();
  const controls = isFixed
    ? el("p", { class: "soft" }, "The cut is that of near duplicates.")
    : el("div", { class: "controls" }, el("label", {}, "Cut ", exact), reset, issue === "near_duplicates" && raw.issues[issue].limit < end && el("span", { class: "soft" }, `Pairs were kept up to a score of ${score(limit)}: the cut goes no further.`));
  return el("figure", { class: "histogram" }, el("div", { class: "drawing" }, drawing, !isFixed && range),
    el("figcaption", {}, el("div", {}, told), controls, el("p", { class: "soft" }, `Scores of ${count(sorted.length)} samples from 0, left, to ${score(end)}; heights are square roots of the counts.`)));
}

/** @param {Float64Array} sorted @param {number} end */
function barsOf(sorted, end) {
  const counts = new Array(BINS).fill(0);
  for (const value of sorted) counts[Math.min(BINS - 1, Math.floor((BINS * value) / end))]++;
  const most = Math.max(...counts, 1);
  const width = 100 / BINS;
  return counts.flatMap((number, bin) => {
    const height = 100 * Math.sqrt(number / most);
    const rect = svg("rect", { x: (bin * width).toFixed(2), y: (100 - height).toFixed(2), width: (0.82 * width).toFixed(2), height: height.toFixed(2) });
    return number ? [{ rect, score: (bin * end) / BINS }] : [];
  });
}

/** What the cut comes to. @param {string} issue */
function cutText(issue) {
  const cut = cutOf(issue);
  const { flagged, right, total } = flaggedAt(issue);
  if (cut === null) return "No cut: nothing is flagged";
  const what = { near_duplicates: "have a near duplicate", leakage: "are in another split too" }[issue] ?? "flagged";
  const worth = right === null || right === undefined ? "" : `; about ${count(Math.round(right))} right, ${count(Math.max(0, Math.round(flagged - right)))} wrong`;
  return `${count(flagged)} of ${count(total)} samples ${what} (${share(flagged / Math.max(1, total))}) below ${score(cut)}${worth}`;
}
