// Which findings are listed: by class, state and name. One filter serves all issues.

/** @type {{cls: string|null, state: string, name: string}} */
const filter = { cls: null, state: "all", name: "" };

const STATES = {
  all: "All",
  open: "Unreviewed",
  flagged: "Below the threshold only",
  beyond: "Above the threshold only",
  confirmed: "Confirmed",
  rejected: "Not an issue",
  relabelled: "Relabelled",
};

/** @param {Partial<typeof filter>} what */
function setFilter(what) {
  Object.assign(filter, what);
  changed("filter");
}

/** @param {Item} item */
function passes(item) {
  if (filter.cls !== null && !item.findings.some((finding) => classOf(finding.index) === filter.cls)) return false;
  if (filter.name && !item.samples.some((key) => sampleOf(key).name.toLowerCase().includes(filter.name) || `#${sampleOf(key).index}` === filter.name)) return false;
  if (filter.state === "all") return true;
  if (filter.state === "flagged") return isFlagged(item);
  if (filter.state === "beyond") return !isFlagged(item);
  if (filter.state === "open") return item.findings.some((finding) => !markOf(finding));
  return item.findings.some((finding) => markOf(finding)?.verdict === filter.state);
}

/** Choose a class; the first entry is "all". @param {string} label @param {(cls: string|null) => void} then */
function classSelect(label, then) {
  const options = raw.classes.map((name, i) => el("option", { value: i }, visible(name)));
  const select = el("select", { "aria-label": label, change: () => then(select.value === "" ? null : raw.classes[Number(select.value)]) }, el("option", { value: "" }, "All classes"), ...options);
  return select;
}

/** @param {HTMLElement} shown how many are listed */
function filterBar(shown) {
  const classes = classSelect("Class", (cls) => setFilter({ cls }));
  const states = el("select", { "aria-label": "State", change: () => setFilter({ state: states.value }) }, ...Object.entries(STATES).map(([value, text]) => el("option", { value }, text)));
  const name = el("input", { type: "search", placeholder: "Name or #number", "aria-label": "Name or number", input: () => setFilter({ name: name.value.trim().toLowerCase() }) });
  const clear = el("button", { type: "button", class: "quiet", click: () => setFilter({ cls: null, state: "all", name: "" }) }, "Clear filters");
  const show = () => {
    classes.value = filter.cls === null ? "" : String(raw.classes.indexOf(filter.cls));
    states.value = filter.state;
    if (document.activeElement !== name) name.value = filter.name;
    clear.hidden = filter.cls === null && filter.state === "all" && !filter.name;
  };
  onChange("filter", show);
  show();
  return el("div", { class: "filters", role: "search", "aria-label": "Filter" }, raw.classes.length > 0 && classes, states, name, clear, shown);
}
