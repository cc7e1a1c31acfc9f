// Export, load and help.

/** @param {string} title @param {...(Node|string|false|null)} content @returns {HTMLDialogElement} */
function dialog(title, ...content) {
  const id = `dialog-${title.toLowerCase().replace(/\W+/g, "-")}`;
  document.getElementById(id)?.remove();
  const made = el("dialog", { id, "aria-labelledby": `${id}-title` });
  made.append(el("h2", { id: `${id}-title` }, title), ...content.filter(Boolean), el("div", { class: "dialog-foot" }, el("button", { type: "button", click: () => made.close() }, "Close")));
  made.addEventListener("close", () => made.remove());
  document.body.append(made);
  made.showModal();
  return made;
}

/** @param {string} text @param {HTMLElement} button shows the outcome */
async function copyText(text, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed: select and copy it";
  }
  announce(button.textContent ?? "");
  setTimeout(() => (button.textContent = before), 2000);
}

/** @param {string} command */
function commandLine(command) {
  const copy = el("button", { type: "button", class: "small", click: () => copyText(command, copy) }, "Copy");
  return el("div", { class: "command" }, el("code", {}, command), copy);
}

/** @param {string} text as one word of a shell */
const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** The folder of the saved audit, which a page that was opened from it knows; "DIR" elsewhere. */
function auditFolder() {
  const up = document.querySelector("a.back") ? 2 : 1; // the page of a split lies one deeper
  try {
    const path = decodeURIComponent(location.pathname).replace(/^\/(?=[A-Za-z]:)/, "");
    return location.protocol === "file:" && path === visible(path) ? path.split("/").slice(0, -up).join("/") || "/" : "DIR";
  } catch {
    return "DIR"; // a name that is no text
  }
}

/** @param {string} name of the source */
const cleanName = (name) => `${name.replace(/[/\\]+$/, "").split(/[/\\]/).pop()?.replace(/[^\w.-]+/g, "_") || "data"}_clean`;

function exportDecisions() {
  const folder = quoted(auditFolder());
  download("decisions.json", decisions());
  const total = issues.reduce((sum, issue) => sum + marks[issue].size, carried.length + loaded.length);
  const number = Object.keys(movedThresholds()).length;
  dialog("Decisions exported", el("p", {}, `decisions.json holds ${count(total)} decisions${number ? ` and ${number} moved ${number > 1 ? "thresholds" : "threshold"}` : ""}.`),
    el("p", {}, unmarkedText()),
    el("p", {}, "Write the fixed data set, a new folder; start where the audit was started, with the path of decisions.json:"), commandLine(`selfclean-hooks apply ${folder} --decisions decisions.json --to ${quoted(cleanName(raw.dataset))}`),
    el("p", {}, "Or check the saved audit with them:"), commandLine(`selfclean-hooks gate ${folder} --decisions decisions.json`));
}

/** @param {File} file */
async function loadFile(file) {
  try {
    dialog("Decisions loaded", el("p", {}, loadDecisions(await file.text())));
  } catch (error) {
    dialog("Not loaded", el("p", { role: "alert" }, `${visible(file.name)} was not loaded: ${/** @type {Error} */ (error).message}. Give a file that this page or the command line wrote; nothing was changed.`));
  }
}

const SHORTCUTS = [["j, →", "next finding"], ["k, ←", "previous finding"], ["↑, ↓", "a row up or down, with the list in focus"], ["c, Enter", "confirm"], ["x", "reject: not an issue"], ["r", "relabel as chosen"], ["u", "undo"], ["Space", "select, with the list in focus"], ["a", "select all that are listed"], ["b", "select those without a mark, up to the one in focus"], ["Esc", "select none"], ["d", "difference of images"], ["?", "this help"]];

function help() {
  const keys = el("input", { type: "checkbox", change: () => setting("keys", keys.checked ? "on" : "off") });
  keys.checked = setting("keys") !== "off";
  dialog("Keys", el("dl", { class: "keys" }, ...SHORTCUTS.map(([key, what]) => el("div", {}, el("dt", {}, el("kbd", {}, key)), el("dd", {}, what)))), el("label", {}, keys, " Keys are on"),
    el("p", { class: "soft" }, "Drag the threshold, or type a score. The list is sorted by score, the worst first; marks are kept in this browser until they are exported. Nothing leaves this page by itself."));
}

/** Buttons at the top. */
function tools() {
  const file = el("input", { type: "file", accept: ".json,application/json", class: "away", "aria-label": "Load decisions", tabindex: -1 });
  file.addEventListener("change", async () => {
    if (file.files[0]) await loadFile(file.files[0]);
    file.value = "";
  });
  return [el("button", { type: "button", class: "primary", click: exportDecisions }, "Export decisions"), el("button", { type: "button", click: () => file.click() }, "Load decisions"), file, themeButton(), el("button", { type: "button", "aria-label": "Help: keys", "aria-keyshortcuts": "?", click: help }, "?")];
}
