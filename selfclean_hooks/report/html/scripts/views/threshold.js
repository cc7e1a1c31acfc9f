// Thresholds: where scores become flags, and what follows from moving them.

/**
 * @typedef {{scores: Float32Array|Float64Array, counted: Float32Array|Float64Array, sorted: Float32Array|Float64Array,
 *   sortedCounted: Float32Array|Float64Array, wrong: Float64Array|null, also: number[], end: number}} Model
 *   scores of an issue; `counted`: those of near duplicates for surplus copies alone; `wrong[i]`: issues to be expected
 *   among the i worst
 */

/** @type {Map<string, Model>} */
const models = new Map();

/** @param {string} issue @returns {Model} */
function model(issue) {
  let found = models.get(issue);
  if (found === undefined) models.set(issue, (found = modelOf(raw.issues[issue])));
  return found;
}

/** @param {any} data of an issue @returns {Model} */
function modelOf(data) {
  const scores = scoresOf(data.scores);
  const counted = data.surplus ? surplusOf(data.surplus) : scores;
  const sorted = ascending(scores);
  const end = Math.max(sorted.at(-1) ?? 0, data.threshold ?? 0) || 1;
  return { scores, counted, sorted, sortedCounted: counted === scores ? sorted : ascending(counted), wrong: data.calibration && expected(sorted, data.calibration), also: data.also, end };
}

/** The numbers among them, sorted; of the same precision. @template {Float32Array|Float64Array} T @param {T} values @returns {T} */
function ascending(values) {
  const sorted = values.slice().sort(); // NaN comes last
  let end = sorted.length;
  while (end > 0 && Number.isNaN(sorted[end - 1])) end--;
  return sorted.subarray(0, end);
}

/** The threshold above which each sample is a surplus copy, NaN: none. @param {{at: string, scores: any}} packed */
function surplusOf(packed) {
  const found = new Float64Array(raw.n).fill(NaN);
  const values = scoresOf(packed.scores);
  new Uint32Array(bytesOf(packed.at)).forEach((index, i) => (found[index] = values[i]));
  return found;
}

/** @param {Float32Array|Float64Array} sorted @param {{score: number[], clean: number[]}} knots */
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

/** The estimated probability that a finding with that score is an issue; null: unknown. @param {string} issue @param {number} value */
function chanceOf(issue, value) {
  const knots = raw.issues[issue].calibration;
  if (!knots || !Number.isFinite(value)) return null;
  return 1 - cleanAt(knots, knots.score.findLastIndex((knot) => knot <= value) + 1, value);
}

/** How many of ascending numbers are less than a value. @param {Float32Array|Float64Array} sorted @param {number} value */
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

/** The threshold in force; null: nothing is flagged. @param {string} issue @returns {number|null} */
function thresholdOf(issue) {
  return moved.get(raw.issues[issue].thresholdIssue) ?? raw.issues[issue].threshold;
}

/** Leakage has the threshold of near duplicates. @param {string} issue */
const hasOwnThreshold = (issue) => raw.issues[issue].thresholdIssue === issue;

/** @param {string} issue @param {number|null} threshold null: as the audit came */
function setThreshold(issue, threshold) {
  if (!hasOwnThreshold(issue)) return;
  if (threshold === null) moved.delete(issue);
  else moved.set(issue, Math.min(Math.max(threshold, 0), raw.issues[issue].limit, 1));
  keep();
  changed("threshold", issue);
}

/** As the audit flags: what lies below the threshold, and exact copies. @param {number} value @param {number|null} threshold */
const isBelow = (value, threshold) => threshold !== null && (value < threshold || value === 0);

/** Ascending numbers that are flagged. @param {Float32Array|Float64Array} sorted @param {number} threshold */
const hitsOf = (sorted, threshold) => Math.max(below(sorted, threshold), below(sorted, Number.MIN_VALUE));

/** Samples flagged at the threshold (of near duplicates the surplus copies), and the estimated number of true ones among them. @param {string} issue */
function flaggedAt(issue) {
  const { scores, sorted, sortedCounted, wrong, also } = model(issue);
  const threshold = thresholdOf(issue);
  if (threshold === null) return { flagged: 0, right: wrong && 0, total: scores.length };
  const [hits, flagged] = [hitsOf(sorted, threshold), hitsOf(sortedCounted, threshold)];
  const beside = also.filter((index) => !isBelow(scores[index], threshold)).length;
  return { flagged: flagged + beside, right: wrong && (wrong[hits] * flagged) / Math.max(1, hits), total: scores.length };
}

/** The 95% interval of the true ones among the samples flagged at the threshold, as Calibration.estimate_count. @param {string} issue @returns {[number, number]|null} */
function rangeAt(issue) {
  const [threshold, knots] = [thresholdOf(issue), raw.issues[issue].calibration];
  const { flagged, right } = flaggedAt(issue);
  if (!knots || threshold === null || !flagged) return null;
  const { sorted } = model(issue);
  const hits = hitsOf(sorted, threshold);
  const end = (/** @type {number[]|null} */ clean, /** @type {number} */ deviations) => {
    const sums = expected(sorted.subarray(0, hits), { score: knots.score, clean: clean ?? knots.clean });
    let variance = 0;
    for (let i = 0; i < hits; i++) variance += (sums[i + 1] - sums[i]) * (1 - sums[i + 1] + sums[i]);
    return ((sums[hits] + deviations * Math.sqrt(variance)) * flagged) / Math.max(1, hits);
  };
  return [Math.min(right, Math.max(0, end(knots.high, -1.96))), Math.max(right, Math.min(flagged, end(knots.low, 1.96)))];
}

/** Whether a sample is flagged at the threshold, of near duplicates: as surplus copy. @param {string} issue @returns {(index: number) => boolean} */
function flagger(issue) {
  const { counted, also } = model(issue);
  const threshold = thresholdOf(issue);
  const beside = new Set(threshold === null ? [] : also);
  return (index) => isBelow(counted[index], threshold) || beside.has(index);
}

/** @param {Finding} finding */
function isHit(finding) {
  const threshold = thresholdOf(finding.issue);
  return isBelow(finding.score, threshold) || (threshold !== null && model(finding.issue).also.includes(finding.index));
}

/** @param {Item} item */
const isFlagged = (item) => item.findings.some(isHit);
