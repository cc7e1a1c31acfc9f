// Marks are kept by the browser, under the fingerprint of the audit; where it refuses, for as long as the page is open.

const PLACE = `selfclean-hooks review ${raw.key}`;

/** Whether marks outlive the page. */
let isKept = true;

/** What was last read or written here. @type {string|null} */
let latest = null;

/** Whether another page of this data has stored something since. */
function isOutdated() {
  try {
    const now = localStorage.getItem(PLACE);
    return now !== null && now !== latest;
  } catch {
    return false;
  }
}

/** @returns {any} what was stored, null where there is nothing that can be read */
function stored() {
  try {
    latest = localStorage.getItem(PLACE);
    return JSON.parse(latest ?? "null");
  } catch {
    isKept = false;
    return null;
  }
}

/** @param {any} content */
function store(content) {
  try {
    const text = JSON.stringify(content);
    localStorage.setItem(PLACE, text);
    latest = text; // not where the browser is full: what it kept before is older than what is here
  } catch {
    isKept = false;
  }
}

/** Settings of this browser, the same for all audits. @param {string} name @param {string} [value] to be kept @returns {string} */
function setting(name, value) {
  try {
    if (value !== undefined) localStorage.setItem(`selfclean-hooks ${name}`, value);
    return localStorage.getItem(`selfclean-hooks ${name}`) ?? "";
  } catch {
    return value ?? "";
  }
}
