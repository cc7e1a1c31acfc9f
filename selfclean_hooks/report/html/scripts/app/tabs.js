// One tab an issue, beside the summary, the classes and the map. A fragment of the address opens one: #leakage/12.

/** @typedef {{issue: string, root: HTMLElement, gallery: Gallery, focus: HTMLElement, next: (item: Item) => void}} Panel */

/** @type {Map<string, {tab: HTMLElement, panel: HTMLElement, parts: Panel|null, opened: () => void}>} */
const tabs = new Map();
let openName = "summary";

/** @returns {Panel|null} that of the issue that is open */
const openPanel = () => tabs.get(openName)?.parts ?? null;

/** @param {string} name @param {string} title @param {HTMLElement} panel @param {number|null} [number] @param {() => Panel|null} [build] called when it is opened first */
function addTab(name, title, panel, number = null, build) {
  const tab = el("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": panel.id, "aria-selected": "false", tabindex: -1, click: (event) => chooseTab(name, event.detail > 0) }, el("span", { class: "title", "data-title": title }, title), number !== null && el("span", { class: "number" }, count(number)));
  panel.setAttribute("role", "tabpanel");
  panel.setAttribute("aria-labelledby", tab.id);
  panel.hidden = true;
  const entry = { tab, panel, parts: null, opened: () => {} };
  entry.opened = () => {
    if (build && !panel.childElementCount) entry.parts = build();
    entry.parts?.gallery.fill();
  };
  tabs.set(name, entry);
}

/** By pointer the keys go to the findings at once; by keyboard they stay on the tabs. @param {string} name @param {boolean} byPointer */
function chooseTab(name, byPointer) {
  openTab(name);
  if (byPointer) openPanel()?.gallery.root.focus({ preventScroll: true });
}

/** @param {string} name @param {Item|null} [item] to be put in focus */
function openTab(name, item = null) {
  const entry = tabs.get(name);
  if (entry === undefined) return;
  openName = name;
  for (const [other, { tab, panel }] of tabs) {
    tab.setAttribute("aria-selected", String(other === name));
    tab.tabIndex = other === name ? 0 : -1;
    panel.hidden = other !== name;
  }
  scrollTo({ top: Math.min(scrollY, document.querySelector("header.top")?.clientHeight ?? 0), behavior: "instant" });
  entry.opened();
  history.replaceState(null, "", `#${name}`);
  if (item !== null && entry.parts) {
    if (!entry.parts.gallery.list().includes(item)) setFilter(NO_FILTER);
    entry.parts.gallery.focus(item, true);
  }
}

/** @param {string} issue @param {HTMLElement} root @returns {Panel} */
function issuePanel(issue, root) {
  const status = el("span", { class: "soft counted", role: "status" });
  const list = gallery(issue, status);
  /** @type {Panel} */
  const panel = { issue, root, gallery: list, focus: root, next: () => list.step(1) };
  panel.focus = focusView(panel);
  const { leftOut } = raw.issues[issue];
  const notes = leftOut > 0 && el("p", { class: "note" }, `${count(leftOut)} flagged findings are not shown. Audit with a higher --max-items to see them.`);
  const head = el("div", { class: "issue-head" }, el("div", {}, el("h2", {}, raw.issues[issue].title), el("p", { class: "soft" }, raw.issues[issue].description), progressLine(issue), furtherLine(issue, list)), thresholdBar(issue));
  const controls = el("div", { class: "listing" }, issue === "label_errors" && confusionTable(), filterBar(issue, status), notes);
  root.append(el("div", { class: "review" }, head, controls, panel.focus, el("div", { class: "list" }, selectionBar(panel), list.root)));
  return panel;
}

/** Arrows go from tab to tab. @param {KeyboardEvent} event */
function moveTab(event) {
  const names = [...tabs.keys()];
  const by = { ArrowRight: 1, ArrowLeft: -1, Home: -names.length, End: names.length }[event.key];
  if (by === undefined) return;
  event.preventDefault();
  const at = Math.min(names.length - 1, Math.max(0, names.indexOf(openName) + by));
  openTab(names[at]);
  tabs.get(names[at])?.tab.focus();
}

/** Open what the address names. */
function openAddressed() {
  const [name, place] = location.hash.slice(1).split("/");
  if (!tabs.has(name)) return openTab(openName);
  const item = place === undefined ? null : (items[name]?.find((one) => one.findings.some((finding) => String(finding.index) === place)) ?? null);
  openTab(name, item);
}
