// The samples selected on the map, as a list.

const LISTED = 200;

/** Samples inside of a polygon. @param {Places} places @param {[number, number][]} path @returns {number[]} */
function within(places, path) {
  const [xs, ys] = [path.map(([x]) => x), path.map(([, y]) => y)];
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  return indicesWhere((i) => {
    const [x, y] = [places.x[i], places.y[i]];
    if (!(x >= left && x <= right && y >= top && y <= bottom)) return false;
    let inside = false;
    for (let a = 0, b = path.length - 1; a < path.length; b = a++) {
      const [[ax, ay], [bx, by]] = [path[a], path[b]];
      if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
    }
    return inside;
  });
}

/** @param {(index: number) => void} show one of them on the map; -1: none */
function lassoList(show) {
  /** @type {number[]} */
  let selected = [];
  const status = el("p", { class: "soft", role: "status" }, "No samples are selected.");
  const list = el("ul", { class: "chosen" });
  const copy = el("button", { type: "button", class: "quiet", hidden: true, click: () => copyText(selected.join("\n"), copy) }, "Copy their indices");
  const root = el("div", { class: "lasso" }, el("h3", {}, "Selected samples"), status, copy, list);
  const choose = (indices) => {
    selected = indices;
    const withThumbnail = selected.filter((i) => isShown(String(i)));
    const first = [...withThumbnail, ...selected.filter((i) => !isShown(String(i)))].slice(0, LISTED);
    status.textContent = selected.length ? `${count(selected.length)} samples${classesOf(selected)}${selected.length > LISTED ? `; the first ${LISTED} are listed` : ""}.` : "No samples are selected.";
    copy.hidden = !selected.length;
    list.replaceChildren(...first.map((i) => el("li", {}, el("button", { type: "button", focus: () => show(i), blur: () => show(-1), click: () => openSample(i) }, isShown(String(i)) && thumbnailOf(String(i)), caption(String(i), true), el("span", { class: "soft" }, named(classOf(i)))))));
  };
  return { root, choose, selected: () => selected };
}

/** @param {number[]} indices */
function classesOf(indices) {
  if (given === null) return "";
  const counts = new Map();
  for (const i of indices) counts.set(classOf(i) || "no class", (counts.get(classOf(i) || "no class") ?? 0) + 1);
  const common = [...counts].sort((a, b) => b[1] - a[1]);
  return `: ${common.slice(0, 5).map(([name, number]) => `${visible(name)} ${count(number)}`).join(", ")}${common.length > 5 ? ` and ${common.length - 5} more classes` : ""}`;
}

/** Go to the first finding that a sample is in. @param {number} index */
function openSample(index) {
  for (const issue of issues) {
    const item = items[issue].find((one) => one.samples.includes(String(index)));
    if (item) return openTab(issue, item);
  }
  announce(`sample #${index} is in no finding on this page`);
}
