// Samples and flags by class. A click on a class lists its findings.

const ROWS = 1000; // classes in the table; the select of the filter holds all

/** @returns {HTMLElement} */
function classTable() {
  const columns = ["class", "samples", ...issues];
  let sorted = { column: "samples", down: true };
  const body = el("tbody");
  const heads = columns.map((column) => {
    const head = el("th", { scope: "col", class: column === "class" ? "" : "number" }, el("button", { type: "button", class: "quiet", click: () => sort(column) }, capital(words(column))));
    return [column, head];
  });
  const note = el("p", { class: "soft" });
  const sort = (column) => {
    sorted = { column, down: sorted.column === column ? !sorted.down : column !== "class" };
    show();
  };
  const show = () => {
    const rows = classRows();
    const way = sorted.down ? -1 : 1;
    rows.sort((a, b) => way * (sorted.column === "class" ? a.class.localeCompare(b.class, "en", { numeric: true }) : a[sorted.column] - b[sorted.column]) || a.place - b.place);
    for (const [column, head] of heads) head.setAttribute("aria-sort", column !== sorted.column ? "none" : sorted.down ? "descending" : "ascending");
    body.replaceChildren(...rows.slice(0, ROWS).map((row) => el("tr", {}, el("th", { scope: "row" }, el("button", { type: "button", class: "link", click: () => openClass(row.class) }, named(row.class.trim() ? row.class : "(blank)"))),
      ...columns.slice(1).map((column) => el("td", { class: "number", "data-head": capital(words(column)) }, count(row[column]), column !== "samples" && row[column] > 0 && el("span", { class: "soft" }, ` ${share(row[column] / row.samples)}`))))));
    note.textContent = rows.length > ROWS ? `${count(ROWS)} of ${count(rows.length)} classes: sort to see others.` : "Flags at the thresholds in force. Select a class to list its findings.";
  };
  onChange("threshold", () => !body.closest("[hidden]") && show());
  show();
  const table = el("table", { class: "classes stacked" }, el("thead", {}, el("tr", {}, ...heads.map(([, head]) => head))), body);
  return el("div", { class: "class-table", show }, note, el("div", { class: "wide", role: "region", "aria-label": "Table of classes", tabindex: 0 }, table));
}

/** @returns {any[]} */
function classRows() {
  const rows = raw.classes.map((name, place) => ({ class: name, place, samples: 0, ...Object.fromEntries(issues.map((issue) => [issue, 0])) }));
  const flaggers = issues.map((issue) => ({ issue, isHit: flagger(issue) }));
  for (let i = 0; i < raw.n; i++) {
    const row = given === null || given[i] === 0 ? undefined : rows[given[i] - 1];
    if (row === undefined) continue;
    row.samples++;
    for (const { issue, isHit } of flaggers) if (isHit(i)) row[issue]++;
  }
  return rows.filter((row) => row.samples);
}

/** @param {string} cls */
function openClass(cls) {
  setFilter({ cls });
  openTab(issues.includes("label_errors") ? "label_errors" : issues[0]);
}
