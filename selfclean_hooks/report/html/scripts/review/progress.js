// Progress of the review, and whether it can stop.

/** @param {string} issue */
function ruleText(issue) {
  const { row, from, reached } = nonIssueRun(issue);
  if (reached) return `${count(row)} consecutive non-issues from the ${count(from)}${ordinal(from)} on: reviewing can stop. An estimated 5% at most of the rest are issues.`;
  return `${count(row)} of ${count(raw.cleanInARow)} consecutive non-issues`;
}

/** @param {number} n */
const ordinal = (n) => (n % 100 > 10 && n % 100 < 14 ? "th" : (["th", "st", "nd", "rd"][n % 10] ?? "th"));

/** The line of one issue, above its findings. @param {string} issue */
function progressLine(issue) {
  const bar = el("progress", { "aria-label": `Inspected findings: ${words(issue)}` });
  const counts = el("span", {});
  const rule = el("p", { class: "rule", role: "status" });
  const show = () => {
    const found = progressOf(issue);
    bar.max = Math.max(1, found.shown);
    bar.value = found.seen;
    counts.textContent = `${count(found.seen)} of ${count(found.shown)} inspected: ${count(found.confirmed)} confirmed, ${count(found.rejected)} not an issue${issue === "label_errors" ? `, ${count(found.relabelled)} relabelled` : ""}`;
    if (rule.textContent !== ruleText(issue)) rule.textContent = ruleText(issue);
    rule.classList.toggle("reached", found.reached);
  };
  onChange("marks", (which) => (!which || which === issue) && show());
  show();
  return el("div", { class: "progress" }, bar, counts, rule);
}

/** What happens to flagged samples that nobody marks. */
function unmarkedText() {
  const open = issues.filter((issue) => ["drop", "relabel"].includes(raw.issues[issue].action)).flatMap((issue) => {
    const marked = findings[issue].filter((finding) => markOf(finding) && isHit(finding)).length;
    const rest = Math.max(0, flaggedAt(issue).flagged - marked);
    return rest ? [`${words(issue)} ${count(rest)}`] : [];
  });
  if (open.length) return `Flags that you do not mark count as confirmed: these samples are dropped too (${open.join(", ")}). Reject those that are no issue.`;
  return issues.some((issue) => ["drop", "relabel"].includes(raw.issues[issue].action)) ? "All flagged samples are marked." : "Flags that you do not mark change nothing: this audit drops only what you confirm.";
}

/** All issues, for the summary. */
function progressTable() {
  const body = el("tbody");
  const unmarked = el("p", {});
  const headings = ["Inspected", "Confirmed", "Not an issue", "Relabelled", "Excluded from review"];
  const rows = () => issues.map((issue) => {
    const found = progressOf(issue);
    const cells = [`${count(found.seen)} of ${count(found.shown)}`, count(found.confirmed), count(found.rejected), count(found.relabelled), found.saved === null ? "–" : share(found.saved)];
    const open = el("button", { type: "button", class: "link", click: () => openTab(issue) }, words(issue));
    return el("tr", {}, el("th", { scope: "row" }, open), ...cells.map((cell, i) => el("td", { class: "number", "data-head": headings[i] }, cell)), el("td", {}, ruleText(issue)));
  });
  const show = () => {
    unmarked.textContent = unmarkedText();
    body.replaceChildren(...rows());
  };
  onChange("marks", show);
  onChange("threshold", show);
  show();
  const heads = headings.map((text) => el("th", { scope: "col", class: "number" }, text));
  const table = el("table", { class: "stacked" }, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Issue"), ...heads, el("th", { scope: "col" }, "When to stop"))), body);
  return el("section", {}, el("h3", {}, "Review"),
    el("p", { class: "soft" }, `Review the findings from the worst. After ${raw.cleanInARow} consecutive non-issues reviewing can stop. Decisions stay in this browser${isKept ? "" : " until the page is closed (it does not allow pages to keep anything: export them)"}; export them to apply them.`),
    unmarked,
    el("div", { class: "wide", role: "region", "aria-label": "Progress of the review", tabindex: 0 }, table));
}
