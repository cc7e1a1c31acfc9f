// One sample as large as the window allows, and the way to its file.

/** Address of a sample's file, "" where the page does not know it. @param {Sample} sample */
function fileOf(sample) {
  if (raw.files === null || sample.split || !sample.name) return "";
  return raw.files + sample.name.split("/").map(encodeURIComponent).join("/");
}

/** @param {string} key */
function zoom(key) {
  const sample = sampleOf(key);
  const made = dialog(`Sample ${numbered(sample)}`, el("div", { class: "zoomed" }, thumbnailOf(key)), el("p", {}, caption(key), sample.given !== undefined && el("span", { class: "soft" }, " class ", named(sample.given))), fileLink(sample));
  made.classList.add("large");
}

/** @param {Sample} sample */
function fileLink(sample) {
  const address = fileOf(sample);
  return address ? el("p", {}, el("a", { href: address, target: "_blank", rel: "noreferrer" }, "Open the file: all of its pixels")) : el("p", { class: "soft" }, "The preview is what this page holds: images of 160 pixels at most.");
}

/** The thumbnail in a button that enlarges it. @param {string} key */
const zoomable = (key) => (addressOf(key) ? el("button", { type: "button", class: "seen zoom", "aria-label": `Enlarge ${numbered(sampleOf(key))}`, click: () => zoom(key) }, thumbnailOf(key)) : el("div", { class: "seen" }, thumbnailOf(key)));
