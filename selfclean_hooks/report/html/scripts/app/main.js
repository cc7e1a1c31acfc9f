// Puts the parts together.

function start() {
  setTheme(setting("theme"));
  restore();
  const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
  byId("tools").append(...tools());
  byId("worst").append(...[worstFindings()].filter(Boolean));
  byId("progress").append(progressTable());
  addTab("summary", "Summary", byId("panel-summary"));
  const panels = byId("panels");
  const fresh = (id) => {
    const panel = el("section", { id });
    panels.append(panel);
    return panel;
  };
  for (const issue of issues) {
    const panel = fresh(`panel-${issue}`);
    addTab(issue, raw.issues[issue].title, panel, raw.issues[issue].counted, () => issuePanel(issue, panel));
  }
  if (raw.classes.length) addBuilt("classes", "Classes", fresh("panel-classes"), classTable);
  if (raw.map) addBuilt("map", "Map", fresh("panel-map"), mapView);
  if (document.getElementById("panel-unreadable")) addTab("unreadable", "Unreadable", byId("panel-unreadable"));
  addTab("about", "About", byId("panel-about"));
  const nav = byId("tabs");
  const list = el("div", { role: "tablist", "aria-label": "Parts of the report", keydown: moveTab }, ...[...tabs.values()].map(({ tab }) => tab));
  nav.append(list);
  nav.hidden = false;
  document.body.append(el("div", { id: "announcement", class: "away", role: "status", "aria-live": "polite" }));
  if (raw.withoutImage) byId("panel-summary").append(el("p", { class: "note" }, `${count(raw.withoutImage)} thumbnails are left out, those of neighbours first, so that this page can be mailed. Audit with a lower --max-items: fewer findings keep all of theirs.`));
  if (!isKept) byId("panel-summary").append(el("p", { class: "note" }, "This browser does not let the page keep anything: decisions are lost when it is closed. Export them before."));
  openAddressed();
  addEventListener("hashchange", openAddressed);
  // A page that was frozen in the background hears of nothing; and what is marked here starts from what is stored.
  for (const event of ["storage", "pageshow", "visibilitychange", "keydown", "pointerdown"]) addEventListener(event, takeFromOtherPage, true);
  document.addEventListener("keydown", press);
  let waiting = false;
  const fill = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      openPanel()?.gallery.fill();
    });
  };
  addEventListener("scroll", fill, { passive: true });
  addEventListener("resize", fill);
  preparePrinting();
  performance.mark("ready");
}

/** A tab that is one view. @param {string} name @param {string} title @param {HTMLElement} panel @param {() => HTMLElement} view */
function addBuilt(name, title, panel, view) {
  addTab(name, title, panel, null, () => {
    panel.append(el("h2", {}, title), view());
    return null;
  });
}

start();
