// The scores of all samples, and the threshold, which can be dragged.

const BINS = 80;
const STEPS = 1000;

/** @param {string} issue */
function thresholdBar(issue) {
  const { sorted, end } = model(issue);
  const isFixed = !hasOwnThreshold(issue);
  const bars = barsOf(sorted, end);
  const limit = Math.min(end, raw.issues[issue].limit);
  const line = svg("line", { y1: 0, y2: 100 });
  const drawing = svg("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" }, ...bars.map((bar) => bar.rect), line);
  const range = el("input", { type: "range", min: 0, max: STEPS, step: 1, class: "threshold", "aria-label": `Threshold of ${words(issue)}` });
  const exact = el("input", { type: "number", min: 0, max: limit, step: "any", class: "exact", "aria-label": `Threshold of ${words(issue)} as a score` });
  const output = el("output", { class: "flagged" });
  const reset = el("button", { type: "button", class: "quiet", click: () => setThreshold(issue, null) }, "Reset");
  range.addEventListener("input", () => setThreshold(issue, Math.min(limit, (end * range.valueAsNumber) / STEPS)));
  exact.addEventListener("change", () => (Number.isFinite(exact.valueAsNumber) ? setThreshold(issue, exact.valueAsNumber) : setThreshold(issue, null)));

  const show = () => {
    const threshold = thresholdOf(issue);
    const at = threshold === null ? 0 : Math.min(1, threshold / end);
    for (const bar of bars) bar.rect.setAttribute("class", isBelow(bar.score, threshold) ? "low" : "");
    line.setAttribute("x1", String(100 * at));
    line.setAttribute("x2", String(100 * at));
    line.toggleAttribute("hidden", threshold === null);
    if (document.activeElement !== range || Math.abs(range.valueAsNumber - STEPS * at) > 1) range.value = String(Math.round(STEPS * at));
    exact.value = threshold === null ? "" : score(threshold);
    reset.hidden = !moved.has(issue);
    const text = thresholdText(issue);
    range.setAttribute("aria-valuetext", text);
    output.textContent = text;
  };
  onChange("threshold", (which) => (which === issue || which === null || isFixed) && show());
  show();
  const controls = isFixed
    ? el("p", { class: "soft" }, "The threshold is that of near duplicates.")
    : el("div", { class: "controls" }, el("label", {}, "Threshold ", exact), reset, raw.issues[issue].limit < end && el("span", { class: "soft" }, `Pairs were kept up to a score of ${score(limit)}: the threshold cannot be higher.`));
  return el("figure", { class: "histogram" }, el("div", { class: "drawing" }, drawing, !isFixed && range),
    el("figcaption", {}, el("div", {}, output), controls, el("p", { class: "soft" }, `Scores of ${count(sorted.length)} samples from 0, left, to ${score(end)}; heights are square roots of the counts.`)));
}

/** @param {Float32Array|Float64Array} sorted @param {number} end */
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

/** What the threshold flags. @param {string} issue */
function thresholdText(issue) {
  const threshold = thresholdOf(issue);
  const { flagged, right, total } = flaggedAt(issue);
  if (threshold === null) return "No threshold: nothing is flagged";
  const what = { near_duplicates: "are surplus copies", leakage: "are in another split too" }[issue] ?? "flagged";
  const { unknown } = raw.issues[issue];
  const interval = rangeAt(issue)?.map((end) => count(Math.round(end))).join(" to ").replace(/.+/, " (95% interval $&)") ?? "";
  const worth = right === null || right === undefined ? (unknown && `; how many are true cannot be estimated: ${unknown}`) : `; estimated: ${count(Math.round(right))} true${interval}, ${count(Math.max(0, Math.round(flagged - right)))} false`;
  const about = issue === "near_duplicates" && moved.has(issue) ? "about " : ""; // sets have no chains: some of these copies would be kept
  return `${about}${count(flagged)} of ${count(total)} samples ${what} (${share(flagged / Math.max(1, total))}) below ${score(threshold)}${worth}`;
}
