// The marks of the reviewer. Every change can be undone, the latest first.

/** @typedef {{verdict: "confirmed"|"rejected"|"relabelled", label?: string}} Mark */

const VERDICTS = ["confirmed", "rejected", "relabelled"];

/** Issue: key of a finding: its mark. @type {Record<string, Map<string, Mark>>} */
const marks = Object.fromEntries(issues.map((issue) => [issue, new Map()]));

/** Issue: keys of the findings that were inspected. @type {Record<string, Set<string>>} */
const seen = Object.fromEntries(issues.map((issue) => [issue, new Set()]));

/** Issue: the threshold that the reviewer chose. @type {Map<string, number>} */
const moved = new Map();

/** @type {{issue: string, before: [string, Mark|undefined][]}[]} */
const done = [];

/** @param {Finding} finding */
const markOf = (finding) => marks[finding.issue].get(finding.key);

/** The mark that all findings of a card have; "some" where they differ, "" where they have none. @param {Item} item */
function stateOf(item) {
  const states = new Set(item.findings.map((finding) => markOf(finding)?.verdict ?? ""));
  return states.size === 1 ? [...states][0] : "some";
}

/** @param {Finding[]} about all of one issue @param {Mark|null|((finding: Finding) => Mark|null)} mark null: none any more */
function mark(about, mark) {
  if (!about.length) return;
  const { issue } = about[0];
  done.push({ issue, before: about.map((finding) => [finding.key, markOf(finding)]) });
  for (const finding of about) put(issue, finding.key, (typeof mark === "function" ? mark(finding) : mark) ?? undefined);
  keep();
  changed("marks", issue);
}

/** @param {string} issue @param {string} key @param {Mark|undefined} mark */
function put(issue, key, mark) {
  if (mark === undefined) marks[issue].delete(key);
  else {
    marks[issue].set(key, mark);
    seen[issue].add(key);
  }
}

/** Take the latest change back. @returns {Item|null} what it was about */
function undo() {
  const last = done.pop();
  if (last === undefined) return null;
  for (const [key, before] of last.before) put(last.issue, key, before);
  keep();
  changed("marks", last.issue);
  return byKey[last.issue].get(last.before[0][0])?.item ?? null;
}

/** @param {Item} item */
function look(item) {
  const known = seen[item.issue];
  const before = known.size;
  for (const finding of item.findings) known.add(finding.key);
  if (known.size > before) {
    keep();
    changed("marks", item.issue);
  }
}

function keep() {
  const of = (issue) => ({ marks: [...elsewhere[issue], ...marks[issue]], seen: [...seen[issue]], given: [...came[issue]] });
  store({ format: 1, issues: Object.fromEntries(issues.map((issue) => [issue, of(issue)])), moved: [...moved], loaded });
}

/** @param {any} mark */
const isMark = (mark) => VERDICTS.includes(mark?.verdict) && (mark.verdict !== "relabelled" || typeof mark.label === "string");

/** Issue: the marks that the audit came with. @type {Record<string, Map<string, Mark>>} */
const came = Object.fromEntries(issues.map((issue) => [issue, new Map()]));

/** Issue: marks that this browser keeps of findings that are not shown here: another page of this data shows them. @type {Record<string, Map<string, Mark>>} */
const elsewhere = Object.fromEntries(issues.map((issue) => [issue, new Map()]));

/** The review that the audit came with, and on top of it what this browser kept of earlier visits. */
function restore() {
  takeGiven();
  for (const issue of issues) for (const entry of marks[issue]) came[issue].set(...entry);
  takeStored();
}

/** What the browser keeps, where it is another than what the audit came with at that time. */
function takeStored() {
  const before = stored();
  if (before?.format !== 1) return;
  for (const issue of issues) {
    const kept = before.issues?.[issue] ?? {};
    const [own, then] = [new Map((kept.marks ?? []).filter(([, mark]) => isMark(mark))), new Map(kept.given ?? [])];
    const isChanged = (key) => JSON.stringify(own.get(key)) !== JSON.stringify(then.get(key));
    for (const map of [marks[issue], elsewhere[issue]]) map.clear();
    for (const [key, mark] of came[issue]) if (own.has(key) || !then.has(key) || JSON.stringify(then.get(key)) !== JSON.stringify(mark)) marks[issue].set(key, mark);
    for (const [key, mark] of own) if (isChanged(key) || !came[issue].has(key)) (byKey[issue].has(key) ? marks : elsewhere)[issue].set(key, mark);
    for (const key of kept.seen ?? []) if (byKey[issue].has(key)) seen[issue].add(key);
  }
  moved.clear();
  for (const [issue, threshold] of before.moved ?? []) if (issues.includes(issue) && Number.isFinite(threshold)) moved.set(issue, threshold);
  loaded.splice(0, Infinity, ...(before.loaded ?? []));
}

/** The same data may be open twice: marks made there count here too. */
function takeFromOtherPage() {
  if (!isOutdated()) return;
  takeStored();
  changed("threshold");
  changed("marks");
}
