// When reviewing can stop, and how much it left out.

/**
 * How many consecutive findings are non-issues, up to the last one with a mark; as `stopping_rule` in
 * results/stopping_rule.py. A finding without a mark ends the run, and a run that follows one is never enough.
 * @param {string} issue
 * @returns {{row: number, from: number, reached: boolean}} from: the rank of the first of the row, from 1
 */
function nonIssueRun(issue) {
  const verdicts = findings[issue].map((finding) => markOf(finding)?.verdict ?? "");
  const end = verdicts.findLastIndex((verdict) => verdict !== "") + 1;
  let start = end;
  while (start > 0 && verdicts[start - 1] === "rejected") start--;
  const isKnown = start === 0 || verdicts[start - 1] !== "";
  return { row: end - start, from: start + 1, reached: isKnown && end - start >= raw.cleanInARow };
}

/** The fraction of all scored samples that the review left out. @param {string} issue @param {number} inspected */
function savedBy(issue, inspected) {
  const scored = model(issue).sorted.length;
  return scored ? 1 - Math.min(scored, inspected) / scored : 0;
}

/** @param {string} issue */
function progressOf(issue) {
  const of = (verdict) => [...marks[issue].values()].filter((mark) => mark.verdict === verdict).length;
  const inspected = seen[issue].size;
  return {
    shown: findings[issue].length,
    seen: inspected,
    confirmed: of("confirmed"),
    rejected: of("rejected"),
    relabelled: of("relabelled"),
    saved: inspected ? savedBy(issue, inspected) : null, // a page that is only opened sorts no scores
    ...nonIssueRun(issue),
  };
}
