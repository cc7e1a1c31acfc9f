// Above the threshold: what is next in rank, and how much of it is likely to be an issue.

const NEXT = 50; // findings that are estimated together

/** @param {Item} item */
const isIssue = (item) => item.findings.some((finding) => ["confirmed", "relabelled"].includes(markOf(finding)?.verdict ?? ""));

/** What lies above the threshold: those that were marked, and the next ones, in order of rank. @param {string} issue */
function aboveOf(issue) {
  const above = items[issue].filter((item) => !isFlagged(item));
  return { marked: above.filter((item) => stateOf(item) !== ""), next: above.filter((item) => stateOf(item) === "") };
}

/** @param {string} issue */
function furtherText(issue) {
  const { marked, next } = aboveOf(issue);
  const found = marked.length ? `; ${count(marked.filter(isIssue).length)} of the ${count(marked.length)} marked there ${marked.length === 1 ? "is an issue" : "are issues"}` : "";
  if (next.length) return `Above the threshold: ${expectedText(issue, next)}${found}.`;
  return marked.length && !nonIssueRun(issue).reached ? `Above the threshold: all that are listed are marked${found}. Audit with a higher --max-items to look further.` : "";
}

/** How many of the next are likely to be issues. @param {string} issue @param {Item[]} next */
function expectedText(issue, next) {
  const those = next.slice(0, NEXT);
  const which = those.length < next.length ? `the next ${count(those.length)} of ${count(next.length)} listed` : `the last ${count(those.length)} listed`;
  const chances = those.map((item) => chanceOf(issue, item.score));
  if (chances.includes(null)) return `${which}; how many are issues cannot be estimated`;
  const expected = chances.reduce((sum, chance) => sum + chance, 0);
  return `${which}, ${expected < 0.5 ? "hardly any" : `an estimated ${count(Math.round(expected))}`} of them issues`;
}

/** The way on from what is flagged. @param {string} issue @param {Gallery} list */
function furtherLine(issue, list) {
  const text = el("span", {});
  const look = () => {
    setFilter({ ...NO_FILTER, state: "beyond", order: "score" });
    const [first] = aboveOf(issue).next;
    if (!first) return;
    list.root.focus({ preventScroll: true });
    list.focus(first, true);
  };
  const button = el("button", { type: "button", class: "small", click: look }, "Look further");
  const root = el("p", { class: "further soft" }, text, " ", button);
  const show = () => {
    text.textContent = furtherText(issue);
    root.hidden = !text.textContent;
    button.hidden = !aboveOf(issue).next.length;
  };
  onChange("marks", (which) => (!which || which === issue) && show());
  onChange("threshold", show);
  show();
  return root;
}
