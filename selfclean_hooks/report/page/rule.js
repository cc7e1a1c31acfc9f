// When the rest may be left, and what was saved by then.

/**
 * How many findings in a row are fine, after the last one that is not, from the worst. One that was not looked at ends
 * the row: nothing is known of it.
 * @param {string} issue
 * @returns {{row: number, from: number, reached: boolean}} from: the rank of the first of the row, from 1
 */
function fineInARow(issue) {
  const verdicts = findings[issue].map((finding) => markOf(finding)?.verdict ?? "");
  const last = Math.max(verdicts.lastIndexOf("confirmed"), verdicts.lastIndexOf("relabelled"));
  let from = last + 1;
  while (from < verdicts.length && verdicts[from] === "") from++;
  let end = from;
  while (end < verdicts.length && verdicts[end] === "rejected") end++;
  return { row: end - from, from: from + 1, reached: end - from >= raw.cleanInARow && from === last + 1 };
}

/** @param {string} issue */
function progressOf(issue) {
  const of = (verdict) => [...marks[issue].values()].filter((mark) => mark.verdict === verdict).length;
  const scored = model(issue).sorted.length;
  return {
    shown: findings[issue].length,
    seen: seen[issue].size,
    confirmed: of("confirmed"),
    rejected: of("rejected"),
    relabelled: of("relabelled"),
    saved: scored ? 1 - Math.min(scored, seen[issue].size) / scored : 0,
    ...fineInARow(issue),
  };
}
