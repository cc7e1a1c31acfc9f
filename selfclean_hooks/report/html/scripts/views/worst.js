// The first screen: the worst findings of every issue.

const FIRST = 8; // findings of an issue

function worstFindings() {
  const strips = issues.filter((issue) => items[issue].length && kindOf(issue) === "images").map((issue) => {
    const cards = items[issue].slice(0, FIRST).map((item) => {
      const shown = item.samples.slice(0, 2);
      const labels = item.issue === "label_errors" && sampleOf(shown[0]).given !== undefined ? `, given ${visible(sampleOf(shown[0]).given)}, predicted ${visible(sampleOf(shown[0]).predicted ?? "")}` : "";
      const name = `${raw.issues[issue].title}: ${shown.map((key) => numbered(sampleOf(key))).join(" and ")}${labels}`;
      return el("button", { type: "button", class: "peek", "aria-label": name, title: name, click: () => openTab(issue, item) }, ...shown.map((key) => el("span", { class: "seen" }, thumbnailOf(key))));
    });
    return el("div", { class: "strip" }, el("h3", {}, raw.issues[issue].title, " ", el("button", { type: "button", class: "link", click: () => openTab(issue) }, `all ${count(items[issue].length)}`)), el("div", { class: "peeks" }, ...cards));
  });
  return strips.length ? el("section", { class: "worst", "aria-label": "The worst findings" }, ...strips) : null;
}
