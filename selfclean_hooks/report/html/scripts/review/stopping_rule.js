// When the rest may be left, and what was saved by then.

/**
 * How many findings in a row are fine, up to the last one with a mark; as `stopping_rule` of stopping.py. One that has
 * no mark ends the row: nothing is known of it, so what follows it is never enough.
 * @param {string} issue
 * @returns {{row: number, from: number, reached: boolean}} from: the rank of the first of the row, from 1
 */
function fineInARow(issue) {
  const verdicts = findings[issue].map((finding) => markOf(finding)?.verdict ?? "");
  const end = verdicts.findLastIndex((verdict) => verdict !== "") + 1;
  let start = end;
  while (start > 0 && verdicts[start - 1] === "rejected") start--;
  const isKnown = start === 0 || verdicts[start - 1] !== "";
  return { row: end - start, from: start + 1, reached: isKnown && end - start >= raw.cleanInARow };
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
