// Where scores become flags, and what follows from moving that place.

/**
 * @typedef {{scores: Float32Array|Float64Array, sorted: Float64Array, wrong: Float64Array|null, zeros: number,
 *   also: number[], end: number}} Model scores of an issue; `wrong[i]`: issues to be expected among the i worst
 */

/** @type {Map<string, Model>} */
const models = new Map();

/** @param {string} issue @returns {Model} */
function model(issue) {
  let found = models.get(issue);
  if (found === undefined) models.set(issue, (found = measured(raw.issues[issue])));
  return found;
}

/** @param {any} told @returns {Model} */
function measured(told) {
  const scores = scoresOf(told.scores);
  const sorted = Float64Array.from(scores.filter((value) => !Number.isNaN(value))).sort();
  const end = Math.max(sorted.at(-1) ?? 0, told.threshold ?? 0) || 1;
  return { scores, sorted, wrong: told.calibration && expected(sorted, told.calibration), zeros: below(sorted, Number.MIN_VALUE), also: told.also, end };
}

/** @param {Float64Array} sorted @param {{score: number[], clean: number[]}} knots */
function expected(sorted, knots) {
  const sums = new Float64Array(sorted.length + 1);
  let at = 0;
  for (let i = 0; i < sorted.length; i++) {
    while (at < knots.score.length && knots.score[at] <= sorted[i]) at++;
    sums[i + 1] = sums[i] + 1 - cleanAt(knots, at, sorted[i]);
  }
  return sums;
}

/** @param {{score: number[], clean: number[]}} knots @param {number} at knots up to the value @param {number} value */
function cleanAt(knots, at, value) {
  if (value === 0) return 0;
  if (at === 0) return knots.clean[0];
  if (at === knots.score.length) return knots.clean[at - 1];
  const part = (value - knots.score[at - 1]) / (knots.score[at] - knots.score[at - 1]);
  return knots.clean[at - 1] + part * (knots.clean[at] - knots.clean[at - 1]);
}

/** How many of ascending numbers are less than a value. @param {Float64Array} sorted @param {number} value */
function below(sorted, value) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The cut in force; null: nothing is flagged. @param {string} issue @returns {number|null} */
function cutOf(issue) {
  if (issue === "leakage") return moved.get("near_duplicates") ?? raw.issues.leakage.threshold;
  return moved.get(issue) ?? raw.issues[issue].threshold;
}

/** @param {string} issue @param {number|null} cut null: as the audit came */
function setCut(issue, cut) {
  if (issue === "leakage") return;
  if (cut === null) moved.delete(issue);
  else moved.set(issue, Math.min(Math.max(cut, 0), raw.issues[issue].limit, 1));
  keep();
  changed("cut", issue);
}

/** As the audit flags: what lies below the cut, and exact copies. @param {number} value @param {number|null} cut */
const isBelow = (value, cut) => cut !== null && (value < cut || value === 0);

/** Samples flagged at the cut, and how many of these are right as far as can be told. @param {string} issue */
function flaggedAt(issue) {
  const { scores, sorted, wrong, zeros, also } = model(issue);
  const cut = cutOf(issue);
  if (cut === null) return { flagged: 0, right: wrong && 0, total: scores.length };
  const hits = Math.max(below(sorted, cut), zeros);
  const beside = also.filter((index) => !isBelow(scores[index], cut)).length;
  return { flagged: hits + beside, right: wrong && wrong[hits], total: scores.length };
}

/** Whether a sample is flagged at the cut. @param {string} issue @returns {(index: number) => boolean} */
function flagger(issue) {
  const { scores, also } = model(issue);
  const cut = cutOf(issue);
  const beside = new Set(cut === null ? [] : also);
  return (index) => isBelow(scores[index], cut) || beside.has(index);
}

/** @param {Item} item */
function isFlagged(item) {
  const cut = cutOf(item.issue);
  if (cut !== null && item.issue === "label_errors" && model(item.issue).also.includes(item.findings[0].index)) return true;
  return item.findings.some((finding) => isBelow(finding.score, cut));
}
