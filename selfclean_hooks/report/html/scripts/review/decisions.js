// The file of decisions: what is written, and what is read from one.

const KIND = "selfclean-hooks decisions";
const TEXTS = ["sample", "digest", "label", "other_sample", "other_digest", "other_split", "split"];
const KEYS = {
  file: ["format", "kind", "dataset", "split", "thresholds", "seen", "decisions"],
  entry: ["issue", "verdict", "index", "sample", "digest", "label", "other_index", "other_sample", "other_digest", "other_split", "split"],
};

/** @param {Finding} finding @param {Mark} mark */
function entryOf(finding, mark) {
  const sample = sampleOf(String(finding.index));
  /** @type {Record<string, any>} */
  const entry = { issue: finding.issue, verdict: mark.verdict, index: finding.index, sample: sample.name, digest: sample.digest };
  if (raw.split) entry.split = raw.split;
  if (finding.otherIndex >= 0) {
    const key = finding.otherSplit ? `${raw.splits.indexOf(finding.otherSplit)}:${finding.otherIndex}` : String(finding.otherIndex);
    const other = sampleOf(key);
    Object.assign(entry, { other_index: finding.otherIndex, other_sample: other.name, other_digest: other.digest });
    if (finding.otherSplit) entry.other_split = finding.otherSplit;
  }
  if (mark.label !== undefined) entry.label = mark.label;
  return entry;
}

/** Thresholds moved here, or by the review that the audit came with. @returns {Record<string, number>} */
const movedThresholds = () => ({ ...raw.movedThresholds, ...Object.fromEntries(moved) });

/** All that was decided, as the text of a file. */
function decisions() {
  const entries = issues.flatMap((issue) => findings[issue].flatMap((finding) => (markOf(finding) ? [entryOf(finding, /** @type {Mark} */ (markOf(finding)))] : [])));
  const looked = issues.filter((issue) => seen[issue].size).map((issue) => [issue, seen[issue].size]);
  const content = { format: 1, kind: KIND, dataset: raw.dataset, split: raw.split, thresholds: movedThresholds(), seen: Object.fromEntries(looked), decisions: [...carried, ...loaded, ...entries] };
  return `${JSON.stringify(content, null, 1)}\n`;
}

/** Marks that the audit came with and that are about nothing that is shown: they are written again as they are. @type {any[]} */
const carried = [];

/** The same of files that were loaded here. @type {any[]} */
const loaded = [];

/** The review that the audit came with, where its samples are now. */
function takeGiven() {
  for (const { entry, at } of raw.marks) {
    const here = { ...entry, index: at[0], sample: "", digest: "" };
    if (entry.issue === "near_duplicates") Object.assign(here, { other_index: at[1], other_sample: "", other_digest: "" });
    if (at[0] < 0 || take([here]).length) carried.push(entry);
  }
}

/** Marks from entries of a file. @param {any[]} entries @returns {any[]} those about no finding here */
function take(entries) {
  const unknown = [];
  for (const entry of entries) {
    const isHere = !entry.split || entry.split === raw.split;
    const finding = isHere ? findingOf(entry) : undefined;
    if (finding === undefined) unknown.push(entry);
    else put(entry.issue, finding.key, entry.verdict === "relabelled" ? { verdict: entry.verdict, label: entry.label } : { verdict: entry.verdict });
  }
  return unknown;
}

/** @param {string} text of a file @returns {any} its content @throws {Error} it is no such file; says why */
function readDecisions(text) {
  let content;
  try {
    content = JSON.parse(text);
  } catch {
    throw new Error("it is not JSON");
  }
  if (content?.kind !== KIND) throw new Error(`it is not a file of decisions (kind "${KIND}")`);
  if (content.format !== 1) throw new Error(`its format is ${JSON.stringify(content.format)}, and this page reads format 1`);
  const odd = Object.keys(content).find((key) => !KEYS.file.includes(key));
  if (odd !== undefined) throw new Error(`it holds "${visible(odd)}", which this page does not know`);
  const entries = content.decisions ?? [];
  if (!Array.isArray(entries)) throw new Error("its decisions are not a list");
  entries.forEach(checkEntry);
  for (const [issue, threshold] of Object.entries(content.thresholds ?? {}))
    if (typeof threshold !== "number" || threshold < 0 || threshold > 1) throw new Error(`the threshold of ${visible(issue)} is not a score in [0, 1]`);
  return { ...content, decisions: entries.map((entry) => (content.split ? { split: content.split, ...entry } : entry)), thresholds: content.thresholds ?? {} };
}

/** @param {any} entry @param {number} i */
function checkEntry(entry, i) {
  const odd = Object.keys(entry ?? {}).find((key) => !KEYS.entry.includes(key));
  if (odd !== undefined) throw new Error(`decision ${i + 1} holds "${visible(odd)}", which this page does not know`);
  if (!isEntry(entry)) throw new Error(`decision ${i + 1} is not as this page writes it`);
}

/** As the command line checks it. @param {any} entry */
function isEntry(entry) {
  const { issue, verdict, index = -1, other_index: otherIndex = -1, label = "", other_split: otherSplit = "" } = entry ?? {};
  const isPlace = (value) => Number.isSafeInteger(value) && value >= -1;
  const isText = (name) => entry[name] === undefined || (typeof entry[name] === "string" && (!name.endsWith("digest") || /^([0-9a-f]{32})?$/.test(entry[name])));
  if (!raw.reviewable.includes(issue) || !isMark({ verdict, label }) || !isPlace(index) || !isPlace(otherIndex) || !TEXTS.every(isText)) return false;
  const [isNamed, hasOther] = [index >= 0 || entry.sample || entry.digest, otherIndex >= 0 || Boolean(entry.other_sample || entry.other_digest)];
  const isRelabelled = verdict === "relabelled";
  return isNamed && hasOther === raw.pairs.includes(issue) && Boolean(otherSplit) === (issue === "leakage") && isRelabelled === Boolean(label.trim()) && (!isRelabelled || issue === "label_errors");
}

/** Decisions of a file, on top of those made here. @param {string} text @returns {string} what was done */
function loadDecisions(text) {
  const content = readDecisions(text);
  const before = issues.reduce((sum, issue) => sum + marks[issue].size, 0);
  done.length = 0;
  const known = new Set(loaded.map((entry) => JSON.stringify(entry)));
  const unknown = take(content.decisions);
  loaded.push(...unknown.filter((entry) => !known.has(JSON.stringify(entry))));
  const isOfHere = !content.split || content.split === raw.split;
  for (const [issue, threshold] of Object.entries(content.thresholds)) if (isOfHere && issues.includes(issue)) setThreshold(issue, threshold);
  keep();
  changed("marks");
  const after = issues.reduce((sum, issue) => sum + marks[issue].size, 0);
  return `${count(content.decisions.length)} decisions read, ${count(after - before)} new${unknown.length ? `; ${count(unknown.length)} are about nothing that is shown here, and are exported again as they are` : ""}.`;
}
