// Which class is given where which is predicted, of the label errors that are flagged. A cell lists its findings.

const SIDE = 14; // classes of the table: those of most findings

/** @returns {HTMLElement|null} */
function confusionTable() {
  if (raw.labels !== "classes") return null;
  const body = el("div", { class: "wide", role: "region", "aria-label": "Given and predicted classes", tabindex: 0 });
  const note = el("p", { class: "soft" });
  const show = () => {
    const counts = new Map();
    const of = new Map();
    for (const item of items.label_errors.filter(isFlagged)) {
      const { given: own = "", predicted = "" } = sampleOf(item.samples[0]);
      const key = JSON.stringify([own, predicted]);
      counts.set(key, (counts.get(key) ?? 0) + 1);
      for (const name of [own, predicted]) of.set(name, (of.get(name) ?? 0) + 1);
    }
    const names = [...of].sort((a, b) => b[1] - a[1] || compared(a[0], b[0])).slice(0, SIDE).map(([name]) => name).sort(compared);
    const inside = names.flatMap((row) => names.map((column) => counts.get(JSON.stringify([row, column])) ?? 0));
    const most = Math.max(1, ...inside);
    const cell = (row, column) => {
      const number = counts.get(JSON.stringify([row, column])) ?? 0;
      const open = number > 0 && el("button", { type: "button", class: "link", "aria-label": `${number}: given ${visible(row)}, predicted ${visible(column)}`, click: () => setFilter({ ...NO_FILTER, cls: row, predicted: column }) }, count(number));
      return el("td", { class: number ? `number heat${Math.ceil((4 * number) / most)}` : "number" }, open);
    };
    note.textContent = names.length ? `Rows: given class, columns: predicted class${of.size > names.length ? `; the ${SIDE} classes of most findings` : ""}. Select a number to list these.` : "Nothing is flagged.";
    body.replaceChildren(el("table", { class: "confusion" }, el("thead", {}, el("tr", {}, el("td"), ...names.map((name) => el("th", { scope: "col" }, named(name))))), el("tbody", {}, ...names.map((row) => el("tr", {}, el("th", { scope: "row" }, named(row)), ...names.map((column) => cell(row, column)))))));
  };
  const root = el("details", { class: "more", toggle: () => root.open && show() }, el("summary", {}, "Given and predicted classes"), note, body);
  onChange("threshold", (which) => root.open && (!which || which === "label_errors") && show());
  return root;
}
