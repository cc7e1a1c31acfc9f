// What is put on paper: the summary and the flagged findings of every issue.

const PRINTED = 120; // cards of an issue

/** @param {string} issue */
function printed(issue) {
  const flagged = items[issue].filter(isFlagged);
  const kind = kindOf(issue);
  const shown = flagged.slice(0, PRINTED).map((item) => {
    const card = cardOf(item, kind);
    card.removeAttribute("role");
    card.removeAttribute("id");
    card.querySelector(".state").textContent = SYMBOLS[stateOf(item)] ?? "";
    return card;
  });
  const rest = flagged.length > shown.length ? ` The first ${count(shown.length)} of ${count(flagged.length)} shown findings are printed.` : "";
  return el("section", {}, el("h2", {}, raw.issues[issue].title), el("p", {}, `${thresholdText(issue)}.${rest}`), el("div", { class: `sheet ${kind}` }, ...shown));
}

function preparePrinting() {
  addEventListener("beforeprint", () => document.body.append(el("div", { id: "printed" }, ...issues.map(printed))));
  addEventListener("afterprint", () => document.getElementById("printed")?.remove());
}
