// Which findings are listed, and in which order. Classes, state and name hold for all issues, the rest for one.

/**
 * @typedef {{issue: string, low: number, high: number}} ScoreRange
 * @typedef {{issue: string, index: number}} Like a sample whose likes are listed, the nearest first
 */

/** @type {{cls: string|null, predicted: string|null, state: string, name: string, range: ScoreRange|null, like: Like|null, order: string}} */
const filter = { cls: null, predicted: null, state: "all", name: "", range: null, like: null, order: "score" };

const NO_FILTER = { cls: null, predicted: null, state: "all", name: "", range: null, like: null };

const STATES = {
  all: "All",
  open: "Unreviewed",
  flagged: "Below the threshold only",
  beyond: "Above the threshold only",
  confirmed: "Confirmed",
  rejected: "Not an issue",
  relabelled: "Relabelled",
};

const ORDERS = { score: "Sort by score", class: "Sort by class", predicted: "Sort by predicted class", name: "Sort by file" };

/** @param {Partial<typeof filter>} what */
function setFilter(what) {
  Object.assign(filter, what);
  changed("filter");
}

/** @param {Item} item */
function passes(item) {
  if (filter.cls !== null && !item.findings.some((finding) => classOf(finding.index) === filter.cls)) return false;
  if (filter.predicted !== null && item.issue === "label_errors" && sampleOf(item.samples[0]).predicted !== filter.predicted) return false;
  if (filter.name && !item.samples.some((key) => sampleOf(key).name.toLowerCase().includes(filter.name) || `#${sampleOf(key).index}` === filter.name)) return false;
  if (filter.range?.issue === item.issue && !(item.score >= filter.range.low && item.score <= filter.range.high)) return false;
  if (filter.state === "all") return true;
  if (filter.state === "flagged") return isFlagged(item);
  if (filter.state === "beyond") return !isFlagged(item);
  if (filter.state === "open") return item.findings.some((finding) => !markOf(finding));
  return item.findings.some((finding) => markOf(finding)?.verdict === filter.state);
}

const { compare: compared } = new Intl.Collator("en", { numeric: true });

/** The findings of an issue that pass, in the order asked for. @param {string} issue @returns {Item[]} */
function listed(issue) {
  const list = items[issue].filter(passes);
  if (filter.like?.issue === issue) return sortedBy(list, likeness(filter.like.index), (a, b) => a - b);
  if (filter.order === "class") return sortedBy(list, (item) => classOf(item.findings[0].index), compared);
  if (filter.order === "predicted") return sortedBy(list, (item) => sampleOf(item.samples[0]).predicted ?? "", compared);
  if (filter.order === "name") return sortedBy(list, (item) => sampleOf(item.samples[0]).name, compared);
  return list;
}

/** Equal ones stay in order of rank. @template T @param {Item[]} list @param {(item: Item) => T} key @param {(a: T, b: T) => number} compare */
const sortedBy = (list, key, compare) => list.map((item) => ({ item, key: key(item) })).sort((a, b) => compare(a.key, b.key)).map(({ item }) => item);

/** How far a finding is from a sample: itself, what was found nearest, then by distance on the map. @param {number} index @returns {(item: Item) => number} */
function likeness(index) {
  const near = items[filter.like.issue].find((item) => item.samples.includes(String(index)))?.near.flat() ?? [];
  const { x, y } = places();
  return ({ samples }) => {
    if (samples.includes(String(index))) return -2;
    if (samples.some((key) => near.includes(key))) return -1;
    const i = Number(samples[0]);
    const gap = (x[i] - x[index]) ** 2 + (y[i] - y[index]) ** 2;
    return Number.isNaN(gap) ? Infinity : gap;
  };
}

const FEW_CLASSES = 60; // of more, only the chosen one is in the page before the list is reached for: each is laid out

/**
 * Choose one of the classes; the first entry is "all". Its property `chosen` is what is chosen, null: all.
 * @param {string} label @param {string} all @param {string[]} names @param {(cls: string|null) => void} then
 */
function classSelect(label, all, names, then) {
  const option = (name, i) => el("option", { value: i }, visible(name));
  const select = el("select", { "aria-label": label, change: (event) => then(event.target.value === "" ? null : names[Number(event.target.value)]) }, el("option", { value: "" }, all));
  const fill = () => {
    const { value } = select;
    if (select.childElementCount <= names.length) select.replaceChildren(select.firstElementChild, ...names.map(option));
    select.value = value;
  };
  if (names.length <= FEW_CLASSES) fill();
  else {
    select.classList.add("long");
    for (const reached of ["pointerenter", "pointerdown", "focus"]) select.addEventListener(reached, fill);
  }
  Object.defineProperty(select, "chosen", { set: (cls) => {
    const at = cls === null ? -1 : names.indexOf(cls);
    if (at >= 0 && select.childElementCount <= names.length) select.replaceChildren(select.firstElementChild, option(cls, at));
    select.value = at < 0 ? "" : String(at);
  } });
  return select;
}

/** @param {string} label @param {Record<string, string>} options @param {(value: string) => void} then */
const choice = (label, options, then) => el("select", { "aria-label": label, change: (event) => then(event.target.value) }, ...Object.entries(options).map(([value, text]) => el("option", { value }, text)));

/** @param {string} issue @param {HTMLElement} shown how many are listed */
function filterBar(issue, shown) {
  const hasClasses = raw.classes.length > 0;
  const predictions = issue === "label_errors" ? [...new Set(items[issue].map((item) => sampleOf(item.samples[0]).predicted ?? ""))].filter(Boolean).sort(compared) : [];
  const classes = classSelect("Class", "All classes", raw.classes, (cls) => setFilter({ cls }));
  const predicted = classSelect("Predicted class", "Any prediction", predictions, (cls) => setFilter({ predicted: cls }));
  const states = choice("State", STATES, (state) => setFilter({ state }));
  const known = Object.entries(ORDERS).filter(([order]) => order === "score" || (order === "class" && hasClasses) || (order === "predicted" && predictions.length) || (order === "name" && items[issue].some((item) => sampleOf(item.samples[0]).name)));
  const orders = choice("Order", Object.fromEntries(known), (order) => setFilter({ order, like: null }));
  const name = el("input", { type: "search", placeholder: "Name or #number", "aria-label": "Name or number", input: () => setFilter({ name: name.value.trim().toLowerCase() }) });
  const bound = (label) => el("input", { type: "number", min: 0, step: "any", class: "bound", placeholder: label, "aria-label": `Score ${label}`, change: () => setFilter({ range: rangeOf() }) });
  const [low, high] = [bound("from"), bound("to")];
  const rangeOf = () => (low.value || high.value ? { issue, low: low.value ? low.valueAsNumber : 0, high: high.value ? high.valueAsNumber : Infinity } : null);
  const like = el("span", { class: "soft like" });
  const clear = el("button", { type: "button", class: "quiet", click: () => setFilter(NO_FILTER) }, "Clear filters");
  const table = el("button", { type: "button", class: "quiet", click: () => download(`${issue}.csv`, csvOf(listed(issue)), "text/csv") }, "CSV of these");
  const show = () => {
    classes.chosen = filter.cls;
    predicted.chosen = filter.predicted;
    states.value = filter.state;
    orders.value = known.some(([order]) => order === filter.order) ? filter.order : "score";
    if (document.activeElement !== name) name.value = filter.name;
    if (filter.range?.issue !== issue) low.value = high.value = "";
    like.textContent = filter.like?.issue === issue ? `Sorted by likeness to #${filter.like.index}` : "";
    clear.hidden = Object.entries(NO_FILTER).every(([key, value]) => filter[key] === value);
  };
  onChange("filter", show);
  show();
  return el("div", { class: "filters", role: "search", "aria-label": "Filter" }, hasClasses && classes, predictions.length > 0 && predicted, states, orders, name, el("span", { class: "bounds" }, low, high), like, clear, table, shown);
}
