// Elements. Whatever comes from the data gets in as text or as the value of an attribute, never as markup.

/**
 * @param {string} tag
 * @param {Record<string, any>} [attributes] strings; functions become listeners ("click"), booleans are there or not
 * @param {...(Node|string|null|undefined|false)} children
 * @returns {any}
 */
function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, String(value));
  }
  for (const child of children) if (child !== null && child !== undefined && child !== false) made.append(child);
  return made;
}

/** @param {string} tag @param {Record<string, string|number>} attributes @param {...Node} children */
function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

const LONGEST = 300; // characters of a name that are shown

/** Text from the data as it can be read: controls and halves of characters become visible. @param {unknown} text */
function visible(text) {
  const whole = String(text);
  const shown = whole.length > LONGEST ? `${whole.slice(0, LONGEST)}… (${whole.length} characters)` : whole;
  return shown
    .replace(/[\u0000-\u001f\u007f-\u009f]/g, "\ufffd")
    .replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, (half) => `\\u${half.charCodeAt(0).toString(16)}`);
}

/** Text from the data in an element of its own, so that its direction stays its own. @param {unknown} text */
const named = (text, kind = "") => el("bdi", { class: kind }, visible(text));

/** @param {number} value */
const count = (value) => value.toLocaleString("en");

/** @param {number} value */
const share = (value) => `${(100 * value).toFixed(value > 0 && value < 0.1 ? 2 : 1)}%`;

/** A probability, in whole percent. @param {number} value */
const percent = (value) => (value > 0 && value < 0.01 ? "less than 1%" : value < 1 && value > 0.99 ? "more than 99%" : `${Math.round(100 * value)}%`);

/** @param {number} value four digits that matter */
const score = (value) => (value === 0 ? "0" : Math.abs(value) < 1e-4 ? value.toExponential(2) : String(Number(value.toPrecision(4))));

/** @param {string} issue */
const words = (issue) => issue.replaceAll("_", " ");

/** @param {string} text */
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** One file saved by the browser. @param {string} name @param {string} text @param {string} [type] */
function download(name, text, type = "application/json") {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = el("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** For screen readers. @param {string} text */
function announce(text) {
  const place = document.getElementById("announcement");
  if (place) place.textContent = text;
}

/** Events of what has changed. */
const changes = new EventTarget();

/** @param {"marks"|"filter"|"threshold"|"focus"|"theme"|"selection"} what @param {any} [detail] */
const changed = (what, detail = null) => changes.dispatchEvent(new CustomEvent(what, { detail }));

/** @param {"marks"|"filter"|"threshold"|"focus"|"theme"|"selection"} what @param {(detail: any) => void} then */
const onChange = (what, then) => changes.addEventListener(what, (event) => then(/** @type {CustomEvent} */ (event).detail));
