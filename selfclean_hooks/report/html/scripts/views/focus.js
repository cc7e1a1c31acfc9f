// The finding in focus: large, with its neighbours and the answers to choose from.

const COPIES = 24; // members of a set that are shown before one asks for more

/** @param {Panel} panel @returns {HTMLElement} */
function focusView(panel) {
  const { issue } = panel;
  const root = el("aside", { class: "focus", "aria-label": "Finding in focus", tabindex: -1 });
  let whole = COPIES;
  const show = () => {
    const item = panel.gallery.focused();
    root.replaceChildren(...(item ? focusParts(panel, item, whole, () => { whole = Infinity; show(); }) : [el("p", { class: "soft" }, "Select a finding", el("span", { class: "hint" }, ", or press ", el("kbd", {}, "j"), " for the first one"), ".")]));
  };
  onChange("focus", (item) => {
    if (item?.issue !== issue) return;
    whole = COPIES;
    look(item);
    show();
    announce(`${panel.gallery.list().indexOf(item) + 1} of ${panel.gallery.list().length}: ${item.samples.map((key) => numbered(sampleOf(key))).slice(0, 5).join(", ")}`);
  });
  onChange("marks", (which) => (!which || which === issue) && show());
  show();
  return root;
}

/** @param {Panel} panel @param {Item} item @param {number} whole @param {() => void} more */
function focusParts(panel, item, whole, more) {
  const list = panel.gallery.list();
  const at = list.indexOf(item) + 1;
  const heading = el("div", { class: "heading" },
    el("button", { type: "button", "aria-label": "Previous finding", click: () => panel.gallery.step(-1) }, "‹"),
    el("span", {}, at ? `${count(at)} of ${count(list.length)}` : "not in the list"),
    el("button", { type: "button", "aria-label": "Next finding", click: () => panel.gallery.step(1) }, "›"));
  const chance = chanceOf(item.issue, item.score);
  const likely = chance !== null && el("span", { class: "likely soft", title: "Estimated probability that it is an issue" }, ` ${percent(chance)} likely`);
  const scores = el("p", { class: "soft" }, `Score ${score(item.score)}${isFlagged(item) ? "" : ", above the threshold"}`);
  return [heading, el("h3", {}, raw.issues[item.issue].question, likely), answers(panel, item), largeOf(item, whole, more), el("div", { class: "extra" }), el("div", { class: "below" }, scores, likeButton(item)), ...nearOf(item)];
}

/** @param {Item} item @param {number} whole @param {() => void} more */
function largeOf(item, whole, more) {
  if (item.samples.length === 1) return el("div", { class: "one" }, figureOf(item.samples[0], labelsOf(item)));
  if (item.issue === "leakage") return el("div", { class: "two" }, figureOf(item.samples[0], el("span", { class: "soft" }, "here")), figureOf(item.samples[1], el("span", { class: "soft" }, "in the other split")));
  const [keptCopy, ...surplus] = item.samples;
  const kept = figureOf(keptCopy, el("span", { class: "good" }, item.flagged ? "kept copy" : "would be kept"));
  const members = surplus.slice(0, whole).map((key, i) => figureOf(key, item.findings.length > 1 ? memberOf(item.findings[i]) : el("span", { class: "soft" }, "surplus")));
  const rest = surplus.length - members.length;
  return el("div", { class: surplus.length > 1 ? "many" : "two" }, kept, ...members, rest > 0 && el("button", { type: "button", click: more }, `Show ${count(rest)} more`));
}

/** List the findings that are most like this one first. @param {Item} item */
function likeButton(item) {
  const { index, split } = sampleOf(item.samples[0]);
  return raw.map && !split && el("button", { type: "button", class: "quiet small", click: () => setFilter({ like: { issue: item.issue, index } }) }, "Find similar");
}

/** @param {string} key @param {...(HTMLElement|null|false)} words */
const figureOf = (key, ...words) => el("figure", { class: "sample" }, zoomable(key), el("figcaption", {}, caption(key), ...words));

/** @param {Item} item */
function labelsOf(item) {
  const sample = sampleOf(item.samples[0]);
  const now = markOf(item.findings[0]);
  const given = sample.given === undefined ? "" : ["class ", named(sample.given)];
  if (item.issue !== "label_errors") return given || item.words ? el("span", { class: "labels" }, item.words && el("strong", {}, item.words), item.words && given && ", ", ...given) : null;
  return el("span", { class: "labels" }, "given ", named(sample.given ?? "", "strong"), " → predicted ", named(sample.predicted ?? "", "strong"), now?.label !== undefined && el("span", {}, ", now ", named(now.label, "strong good")));
}

/** One copy of a set, marked by itself. @param {Finding} finding */
function memberOf(finding) {
  const state = markOf(finding)?.verdict ?? "";
  const button = (verdict, text) => el("button", { type: "button", class: "small", "aria-pressed": state === verdict, "aria-label": `${text} #${finding.index}`, click: () => mark([finding], state === verdict ? null : { verdict }) }, text);
  return el("span", { class: "member" }, el("span", { class: "soft" }, score(finding.score)), button("confirmed", "Drop"), button("rejected", "Keep"));
}

/** @param {Panel} panel @param {Item} item */
function answers(panel, item) {
  const state = stateOf(item);
  const [yes, no] = raw.issues[item.issue].answers;
  const button = (verdict, text, key) => el("button", { type: "button", class: `answer ${verdict}`, "aria-pressed": state === verdict, "aria-keyshortcuts": key, click: () => decide(panel, { verdict }) }, text, " ", el("kbd", { "aria-hidden": "true" }, key));
  const undoButton = el("button", { type: "button", "aria-keyshortcuts": "u", disabled: !done.length, click: () => takeBack(panel) }, "Undo ", el("kbd", { "aria-hidden": "true" }, "u"));
  const canDiffer = item.samples.length > 1 && addressOf(item.samples[0]) && addressOf(item.samples[1]);
  const differ = canDiffer && el("button", { type: "button", "aria-keyshortcuts": "d", click: () => showDifference(panel) }, "Difference ", el("kbd", { "aria-hidden": "true" }, "d"));
  return el("div", { class: "answers" }, button("confirmed", yes, "c"), button("rejected", no, "x"), relabelOf(panel, item), undoButton, differ);
}

/** @param {Panel} panel @param {Item} item */
function relabelOf(panel, item) {
  if (item.issue !== "label_errors" || !["classes", "numbers"].includes(raw.labels)) return null;
  const sample = sampleOf(item.samples[0]);
  const label = markOf(item.findings[0])?.label ?? sample.predicted ?? "";
  const names = raw.classes.includes(label) || !label ? raw.classes : [...raw.classes, label]; // a file of decisions may hold a new class
  const field = raw.labels === "classes"
    ? el("select", { class: "relabel", "aria-label": "New label" }, ...names.map((name, i) => el("option", { value: i, selected: name === label, disabled: !name.trim() }, visible(name))))
    : el("input", { class: "relabel", type: "number", step: "any", value: label, "aria-label": "New label" });
  const chosen = () => (raw.labels === "classes" ? names[Number(field.value)] : field.value);
  const button = el("button", { type: "button", class: "answer relabelled", "aria-pressed": stateOf(item) === "relabelled", "aria-keyshortcuts": "r", click: () => chosen()?.trim() && decide(panel, { verdict: "relabelled", label: chosen() }) }, "Relabel ", el("kbd", { "aria-hidden": "true" }, "r"));
  return el("span", { class: "relabelling" }, field, button);
}

/** @param {Item} item */
function nearOf(item) {
  const sample = sampleOf(item.samples[0]);
  const titles = item.issue === "label_errors" ? [["Nearest of class ", sample.given], ["Nearest of class ", sample.predicted]] : [["Nearest samples", ""]];
  return item.near.flatMap((row, i) => {
    if (!row.length || (i === 1 && sample.given === sample.predicted)) return [];
    const small = row.map((key) => el("figure", { class: doubtsOf(key) ? "sample doubted" : "sample" }, zoomable(key), el("figcaption", {}, caption(key, true), doubtsOf(key) && el("span", { class: "bad" }, doubtsOf(key)))));
    return [el("h4", {}, titles[i][0], titles[i][1] ? named(titles[i][1]) : null), el("div", { class: "near" }, ...small)];
  });
}

/** Why a sample is no evidence: it is flagged itself. @param {string} key @returns {string} */
function doubtsOf(key) {
  const { split, index } = sampleOf(key);
  const doubts = split ? [] : [["label_errors", "label in doubt"], ["off_topic", "off topic?"]].filter(([issue]) => issues.includes(issue) && flagger(issue)(index));
  return doubts.map(([, text]) => text).join(", ");
}

/** Mark what is selected; else the finding in focus, and go on to the next. @param {Panel} panel @param {Mark|null|((finding: Finding) => Mark|null)} verdict */
function decide(panel, verdict) {
  const chosen = panel.gallery.chosen();
  if (chosen.length) {
    mark(chosen.flatMap((item) => item.findings), verdict);
    panel.gallery.choose([]);
    return announce(`${count(chosen.length)} findings marked`);
  }
  if (verdict === null || typeof verdict === "function") return;
  const item = panel.gallery.focused();
  if (item === null) return;
  mark(item.findings, verdict);
  const rule = nonIssueRun(item.issue);
  announce(rule.reached ? ruleText(item.issue) : `${verdict.verdict === "rejected" ? "not an issue" : verdict.verdict}: ${item.samples.map((key) => numbered(sampleOf(key))).slice(0, 3).join(", ")}`);
  panel.next(item);
}

/** @param {Panel} panel */
function takeBack(panel) {
  const item = undo();
  if (item === null) return;
  announce("undone");
  if (item.issue === panel.issue) panel.gallery.focus(item, true);
  else openTab(item.issue, item);
}

/** @param {Panel} panel */
async function showDifference(panel) {
  const item = panel.gallery.focused();
  const place = panel.focus.querySelector(".extra");
  if (!item || !place || item.samples.length < 2) return;
  if (place.childElementCount) return place.replaceChildren();
  const pairs = item.samples.slice(1, 1 + COPIES).filter((key) => addressOf(key) && addressOf(item.samples[0]));
  const shown = await Promise.all(pairs.map((key) => difference(item.samples[0], key)));
  if (panel.gallery.focused() === item) place.replaceChildren(...shown);
}
