// Marks are kept by the browser, under the fingerprint of the audit; where it refuses, for as long as the page is open.

const PLACE = `selfclean-hooks review ${raw.key}`;

/** Whether marks outlive the page. */
let isKept = true;

/** @returns {any} what was stored, null where there is nothing that can be read */
function stored() {
  try {
    return JSON.parse(localStorage.getItem(PLACE) ?? "null");
  } catch {
    isKept = false;
    return null;
  }
}

/** @param {any} content */
function store(content) {
  try {
    localStorage.setItem(PLACE, JSON.stringify(content));
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
