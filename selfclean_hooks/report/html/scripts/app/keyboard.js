// Keys of the review, off while a field, a select or a button has the focus that uses them itself.

/** @param {KeyboardEvent} event */
function isTaken(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented || document.querySelector("dialog[open]")) return true;
  const target = /** @type {HTMLElement} */ (event.target);
  if (target.matches("input, select, textarea, [contenteditable]")) return !(target.matches("select.relabel") && event.key === "Enter");
  return event.key === "Enter" && target.matches("button, a") ? true : /^Arrow/.test(event.key) && target.matches("[role=tab]");
}

/** @param {KeyboardEvent} event */
function press(event) {
  if (event.key === "?" && !isTaken(event)) return help();
  const panel = openPanel();
  if (panel === null || isTaken(event) || setting("keys") === "off") return;
  const inList = event.target === panel.gallery.root;
  const isSelecting = panel.gallery.chosen().length > 0;
  const relabel = /** @type {HTMLElement|null} */ (panel.focus.querySelector("button.relabelled"));
  const inRelabel = /** @type {HTMLElement} */ (event.target).matches("select.relabel");
  const acts = {
    j: () => panel.gallery.step(1),
    ArrowRight: () => panel.gallery.step(1),
    k: () => panel.gallery.step(-1),
    ArrowLeft: () => panel.gallery.step(-1),
    ArrowDown: inList && (() => panel.gallery.step(panel.gallery.columns())),
    ArrowUp: inList && (() => panel.gallery.step(-panel.gallery.columns())),
    Home: inList && (() => panel.gallery.step(-Infinity)),
    End: inList && (() => panel.gallery.step(Infinity)),
    c: () => decide(panel, { verdict: "confirmed" }),
    Enter: () => (inRelabel ? relabel?.click() : decide(panel, { verdict: "confirmed" })),
    x: () => decide(panel, { verdict: "rejected" }),
    r: () => /** @type {HTMLElement|null} */ (isSelecting ? panel.root.querySelector(".selected .relabelled") : relabel)?.click(),
    b: () => chooseUnmarked(panel.gallery),
    a: () => panel.gallery.choose(panel.gallery.list()),
    Escape: isSelecting && (() => panel.gallery.choose([])),
    " ": inList && (() => panel.gallery.focused() && panel.gallery.toggle(/** @type {Item} */ (panel.gallery.focused()))),
    u: () => takeBack(panel),
    d: () => showDifference(panel),
  };
  const act = acts[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act) return;
  event.preventDefault();
  act();
}
