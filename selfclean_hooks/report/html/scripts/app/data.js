// The data of the page: read once, never changed.

/**
 * @typedef {{issue: string, key: string, index: number, otherIndex: number, otherSplit: string, score: number,
 *   item: Item}} Finding what a mark is about
 * @typedef {{issue: string, place: number, samples: string[], findings: Finding[], near: string[][], words: string, score: number,
 *   flagged: boolean}} Item what stands together in a card: a sample, a set of copies or a pair
 * @typedef {{index: number, split: string, name: string, digest: string, given?: string, predicted?: string}} Sample
 */

const raw = JSON.parse(/** @type {any} */ (document.getElementById("data")).textContent);
performance.mark("data");

/** @param {string} text base64 @returns {ArrayBuffer} */
function bytesOf(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes.buffer;
}

/** @param {{kind: string, bytes: string}} packed */
const scoresOf = (packed) => (packed.kind === "f4" ? new Float32Array(bytesOf(packed.bytes)) : new Float64Array(bytesOf(packed.bytes)));

/** Class of each sample plus one, 0: none; null where labels are no classes. */
const given = raw.given === null ? null : raw.given.length > 3 * raw.n ? new Uint32Array(bytesOf(raw.given)) : new Uint16Array(bytesOf(raw.given));

/** @type {string[]} issues that ran, in order */
const issues = Object.keys(raw.issues);

/** Samples of other splits, from the pairs of leakage. @type {Map<string, Sample>} */
const others = new Map();

/** @param {string} key position, or "2:17": 17 of the split number 2 @returns {Sample} */
function sampleOf(key) {
  const other = others.get(key);
  if (other) return other;
  const facts = raw.samples[key] ?? {};
  const index = Number(key);
  return { index, split: "", name: facts.name ?? raw.names?.[index] ?? "", digest: facts.digest ?? "", given: facts.given, predicted: facts.predicted };
}

/** @param {string} issue @param {any} entry @param {number} place @returns {Item} */
function itemOf(issue, entry, place) {
  const samples = entry.samples.map(String);
  /** @type {Item} */
  const item = { issue, place, samples, findings: [], near: (entry.near ?? []).map((row) => row.map(String)), words: entry.words ?? "", score: 0, flagged: entry.flagged };
  const add = (index, otherIndex, otherSplit, value) => {
    const key = otherIndex < 0 ? String(index) : `${index}|${otherIndex}|${otherSplit}`;
    item.findings.push({ issue, key, index, otherIndex, otherSplit, score: value ?? NaN, item });
  };
  if (entry.other) {
    const { split, index, place: number, name, digest } = entry.other;
    const key = `${number}:${index}`;
    others.set(key, { index, split, name: name ?? "", digest: digest ?? "" });
    item.samples.push(key);
    add(entry.samples[0], index, split, entry.scores[0]);
  } else if (issue === "near_duplicates" && entry.flagged) {
    const [kept, ...surplus] = entry.samples;
    surplus.forEach((index, i) => add(index, kept, "", entry.scores[i]));
  } else if (issue === "near_duplicates") add(entry.samples[1], entry.samples[0], "", entry.scores[0]);
  else add(entry.samples[0], -1, "", entry.scores[0]);
  item.score = Math.min(...item.findings.map((finding) => (Number.isNaN(finding.score) ? Infinity : finding.score)));
  return item;
}

/** Issue: what is shown of it, worst first. @type {Record<string, Item[]>} */
const items = Object.fromEntries(issues.map((issue) => [issue, raw.issues[issue].findings.map((entry, i) => itemOf(issue, entry, i))]));

/** Issue: its findings in order of rank. @type {Record<string, Finding[]>} */
const findings = Object.fromEntries(issues.map((issue) => [issue, items[issue].flatMap((item) => item.findings)]));

/** Findings by issue and key. @type {Record<string, Map<string, Finding>>} */
const byKey = Object.fromEntries(issues.map((issue) => [issue, new Map(findings[issue].map((finding) => [finding.key, finding]))]));

/** @param {number} index @returns {string} "" without a class */
const classOf = (index) => (given !== null && given[index] > 0 ? raw.classes[given[index] - 1] : "");

/** Split and index of a sample. @param {Sample} sample */
const numbered = (sample) => `${sample.split ? `${visible(sample.split)} ` : ""}#${sample.index}`;
