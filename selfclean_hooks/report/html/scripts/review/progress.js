// How far the review has come, and whether it may end.

/** @param {string} issue */
function ruleText(issue) {
  const { row, from, reached } = fineInARow(issue);
  if (reached) return `${count(row)} fine in a row from the ${count(from)}${ordinal(from)} on: the rest may be left. Fewer than 5% of what lies beyond are wrong, as far as can be told.`;
  return `${count(row)} of ${count(raw.cleanInARow)} fine in a row`;
}

/** @param {number} n */
const ordinal = (n) => (n % 100 > 10 && n % 100 < 14 ? "th" : (["th", "st", "nd", "rd"][n % 10] ?? "th"));

/** The line of one issue, above its findings. @param {string} issue */
function progressLine(issue) {
  const bar = el("progress", { "aria-label": `Looked at, of ${words(issue)}` });
  const told = el("span", {});
  const rule = el("p", { class: "rule", role: "status" });
  const show = () => {
    const found = progressOf(issue);
    bar.max = Math.max(1, found.shown);
    bar.value = found.seen;
    told.textContent = `${count(found.seen)} of ${count(found.shown)} looked at: ${count(found.confirmed)} confirmed, ${count(found.rejected)} fine${issue === "label_errors" ? `, ${count(found.relabelled)} relabelled` : ""}`;
    if (rule.textContent !== ruleText(issue)) rule.textContent = ruleText(issue);
    rule.classList.toggle("reached", found.reached);
  };
  onChange("marks", (which) => (!which || which === issue) && show());
  show();
  return el("div", { class: "progress" }, bar, told, rule);
}

/** All issues, for the summary. */
function progressTable() {
  const body = el("tbody");
  const show = () => body.replaceChildren(...issues.map((issue) => {
    const found = progressOf(issue);
    const cells = [`${count(found.seen)} of ${count(found.shown)}`, count(found.confirmed), count(found.rejected), count(found.relabelled), found.seen ? share(found.saved) : "–"];
    const open = el("button", { type: "button", class: "link", click: () => openTab(issue) }, words(issue));
    return el("tr", {}, el("th", { scope: "row" }, open), ...cells.map((cell) => el("td", { class: "number" }, cell)), el("td", {}, ruleText(issue)));
  }));
  onChange("marks", show);
  show();
  const heads = ["Looked at", "Confirmed", "Fine", "Relabelled", "Not to be looked at"].map((text) => el("th", { scope: "col", class: "number" }, text));
  const table = el("table", {}, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Issue"), ...heads, el("th", { scope: "col" }, "When to stop"))), body);
  return el("section", {}, el("h3", {}, "Review"),
    el("p", { class: "soft" }, `Go through the findings from the worst. After ${raw.cleanInARow} fine ones in a row the rest may be left. Decisions stay in this browser${isKept ? "" : " until the page is closed (it does not allow pages to keep anything: export them)"}; export them to apply them.`),
    el("div", { class: "wide", role: "region", "aria-label": "Progress of the review", tabindex: 0 }, table));
}
