// Several findings decided at once.

/** The answers for what is selected; hidden where nothing is. @param {Panel} panel */
function selectionBar(panel) {
  const { gallery, issue } = panel;
  const [yes, no] = raw.issues[issue].answers;
  const words = el("strong", { role: "status" });
  const relabels = issue === "label_errors" && raw.labels === "classes" ? el("span", { class: "relabelling" }) : null;
  const relabel = relabels && el("button", { type: "button", class: "answer relabelled", click: () => decide(panel, relabelSelected(panel)) }, "Relabel ", key("r"));
  const chosen = el("div", { class: "selected", hidden: true }, words,
    el("button", { type: "button", class: "answer confirmed", click: () => decide(panel, { verdict: "confirmed" }) }, yes.split(":")[0], " ", key("c")),
    el("button", { type: "button", class: "answer rejected", click: () => decide(panel, { verdict: "rejected" }) }, no.split(":")[0], " ", key("x")),
    relabels,
    el("button", { type: "button", class: "quiet", click: () => decide(panel, null) }, "Remove marks"),
    el("button", { type: "button", class: "quiet", click: () => gallery.choose([]) }, "Deselect ", key("Esc")));
  const all = el("button", { type: "button", class: "quiet", click: () => gallery.choose(gallery.list()) }, "Select all listed ", key("a"));
  const upToHere = el("button", { type: "button", class: "quiet", click: () => chooseUnmarked(gallery) }, "Select unmarked up to here ", key("b"));
  const hint = el("span", { class: "soft hint" }, "or drag across them, or click with Ctrl or Shift");
  const root = el("div", { class: "selection" }, all, upToHere, hint, chosen);
  const show = () => {
    const number = gallery.chosen().length;
    chosen.hidden = !number;
    all.hidden = hint.hidden = number > 0;
    upToHere.hidden = number > 0 || gallery.focused() === null;
    if (number && relabels && !relabels.childElementCount) relabels.append(classSelect("New label of the selected", "as predicted", raw.classes, () => {}), /** @type {Node} */ (relabel));
    words.textContent = number ? `${count(number)} selected` : "";
  };
  onChange("selection", (which) => which === issue && show());
  onChange("focus", (item) => item?.issue === issue && show());
  show();
  return root;
}

/** What was passed over on the way to the finding in focus: after the issues are marked, the others are decided at once. @param {Gallery} gallery */
function chooseUnmarked(gallery) {
  const list = gallery.list();
  const end = list.findIndex((item) => item === gallery.focused()) + 1;
  gallery.choose(list.slice(0, end).filter((item) => stateOf(item) === ""));
}

/** @param {string} name */
const key = (name) => el("kbd", { "aria-hidden": "true" }, name);

/** Each selected finding gets the label chosen, or the one predicted for it. @param {Panel} panel @returns {(finding: Finding) => Mark|null} */
function relabelSelected(panel) {
  const field = /** @type {HTMLSelectElement|null} */ (panel.root.querySelector(".selected select"));
  const label = field && field.value !== "" ? raw.classes[Number(field.value)] : null;
  return (finding) => {
    const to = label ?? sampleOf(String(finding.index)).predicted;
    return to === undefined ? markOf(finding) ?? null : { verdict: "relabelled", label: to };
  };
}

const DRAGGED = 6; // pixels after which a click is a rectangle

/** Select what a rectangle touches that is drawn with the mouse. @param {HTMLElement} root of the cards @param {(box: {left: number, top: number, right: number, bottom: number}, isMore: boolean) => void} choose in pixels from the corner of `root` */
function rectangleOn(root, choose) {
  const drawn = el("div", { class: "rectangle", hidden: true });
  root.append(drawn);
  /** @type {[number, number]|null} */
  let from = null;
  let isDrawn = false;
  const at = (event) => {
    const box = root.getBoundingClientRect();
    return /** @type {[number, number]} */ ([event.clientX - box.left, event.clientY - box.top]);
  };
  root.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse" && event.button === 0) from = at(event);
    isDrawn = false;
  });
  root.addEventListener("pointermove", (event) => {
    if (from === null || !(event.buttons & 1)) return;
    const [x, y] = at(event);
    if (!isDrawn && Math.hypot(x - from[0], y - from[1]) < DRAGGED) return;
    if (!isDrawn) root.setPointerCapture(event.pointerId);
    isDrawn = true;
    const box = { left: Math.min(x, from[0]), top: Math.min(y, from[1]), right: Math.max(x, from[0]), bottom: Math.max(y, from[1]) };
    Object.assign(drawn.style, { left: `${box.left}px`, top: `${box.top}px`, width: `${box.right - box.left}px`, height: `${box.bottom - box.top}px` });
    drawn.hidden = false;
    choose(box, event.ctrlKey || event.metaKey || event.shiftKey);
  });
  for (const end of ["pointerup", "pointercancel"])
    root.addEventListener(end, () => {
      from = null;
      drawn.hidden = true;
    });
  root.addEventListener("click", (event) => {
    if (isDrawn) event.stopPropagation();
    isDrawn = false;
  }, true);
}
