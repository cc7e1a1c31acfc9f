// The file of decisions: what is written, and what is read from one.

const KIND = "selfclean-hooks decisions";
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

/** All that was decided, as the text of a file. */
function decisions() {
  const entries = issues.flatMap((issue) => findings[issue].flatMap((finding) => (markOf(finding) ? [entryOf(finding, /** @type {Mark} */ (markOf(finding)))] : [])));
  const looked = issues.filter((issue) => seen[issue].size).map((issue) => [issue, seen[issue].size]);
  const content = { format: 1, kind: KIND, dataset: raw.dataset, split: raw.split, thresholds: Object.fromEntries(moved), seen: Object.fromEntries(looked), decisions: [...carried, ...entries] };
  return `${JSON.stringify(content, null, 1)}\n`;
}

/** @param {any} entry @param {string} issue @returns {Finding|undefined} the finding that an entry is about */
function findingOf(entry, issue) {
  const both = [entry.index, entry.other_index ?? -1];
  const keys = both[1] < 0 ? [String(both[0])] : [`${both[0]}|${both[1]}|${entry.other_split ?? ""}`, `${both[1]}|${both[0]}|`];
  const found = keys.map((key) => byKey[issue]?.get(key)).find(Boolean);
  const digest = found && sampleOf(String(found.index)).digest;
  return found && found.index === entry.index && digest && entry.digest && digest !== entry.digest ? undefined : found;
}

/** Marks that the audit came with and that are about nothing that is shown: they are written again as they are. @type {any[]} */
const carried = [];

/** The review that the audit came with, where its samples are now. */
function takeGiven() {
  for (const { entry, at } of raw.marks) {
    const here = { ...entry, index: at[0], other_index: at[1], digest: "" };
    if (at[0] < 0 || take([here])) carried.push(entry);
  }
}

/** Marks from entries of a file. @param {any[]} entries @returns {number} how many are of no finding here */
function take(entries) {
  let unknown = 0;
  for (const entry of entries) {
    const isHere = !entry.split || !raw.split || entry.split === raw.split;
    const finding = isHere ? findingOf(entry, entry.issue) : undefined;
    if (finding === undefined) unknown++;
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
    throw new Error("it is no JSON");
  }
  if (content?.kind !== KIND) throw new Error(`it is no file of decisions (kind "${KIND}")`);
  if (content.format !== 1) throw new Error(`its format is ${JSON.stringify(content.format)}, and this page reads format 1`);
  const odd = Object.keys(content).find((key) => !KEYS.file.includes(key));
  if (odd !== undefined) throw new Error(`it holds "${visible(odd)}", which this page does not know`);
  const entries = content.decisions ?? [];
  if (!Array.isArray(entries)) throw new Error("its decisions are no list");
  entries.forEach(checkEntry);
  for (const [issue, cut] of Object.entries(content.thresholds ?? {}))
    if (typeof cut !== "number" || cut < 0 || cut > 1) throw new Error(`the threshold of ${visible(issue)} is no score in [0, 1]`);
  return { ...content, decisions: entries, thresholds: content.thresholds ?? {} };
}

/** @param {any} entry @param {number} i */
function checkEntry(entry, i) {
  const odd = Object.keys(entry ?? {}).find((key) => !KEYS.entry.includes(key));
  if (odd !== undefined) throw new Error(`decision ${i + 1} holds "${visible(odd)}", which this page does not know`);
  if (typeof entry?.issue !== "string" || !Number.isInteger(entry.index) || !isMark(entry)) throw new Error(`decision ${i + 1} is not as this page writes it`);
}

/** Decisions of a file, on top of those made here. @param {string} text @returns {string} what was done */
function loadDecisions(text) {
  const content = readDecisions(text);
  const before = issues.reduce((sum, issue) => sum + marks[issue].size, 0);
  done.length = 0;
  const unknown = take(content.decisions);
  for (const [issue, cut] of Object.entries(content.thresholds)) if (issues.includes(issue)) setCut(issue, cut);
  keep();
  changed("marks");
  const after = issues.reduce((sum, issue) => sum + marks[issue].size, 0);
  return `${count(content.decisions.length)} decisions read, ${count(after - before)} new${unknown ? `; ${count(unknown)} are about nothing that is shown here` : ""}.`;
}
