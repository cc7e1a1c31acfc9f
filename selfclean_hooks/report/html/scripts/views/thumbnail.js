// The thumbnail of a sample: its image, its text, its curve or its values.

const TINY = 64; // pixels: smaller images are enlarged without blur

/** @param {string} key @returns {string} address of the image, "" where there is none */
function addressOf(key) {
  const held = raw.images[key];
  if (held === undefined) return "";
  const kind = held.startsWith("iVBOR") ? "png" : held.startsWith("/9j/") ? "jpeg" : "webp";
  return `data:image/${kind};base64,${held}`;
}

/** @param {string} key */
const isShown = (key) => key in raw.images || key in raw.previews;

/** @param {string} key @returns {HTMLElement} */
function thumbnailOf(key) {
  const sample = sampleOf(key);
  const address = addressOf(key);
  if (address) {
    const image = el("img", { src: address, alt: `sample ${numbered(sample)}`, decoding: "async", draggable: "false" });
    image.addEventListener("load", () => image.classList.toggle("tiny", Math.max(image.naturalWidth, image.naturalHeight) <= TINY));
    return image;
  }
  const preview = raw.previews[key];
  if (preview === undefined) return el("span", { class: "none" }, "no image");
  return { text: textPreview, curve: curvePreview, table: tablePreview }[preview.kind](preview, sample);
}

/** @param {{text: string, rest: number}} preview */
function textPreview(preview) {
  const shown = preview.text.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, (half) => `\\u${half.charCodeAt(0).toString(16)}`);
  const rest = preview.rest ? `… ${count(preview.rest)} more characters` : shown ? "" : "empty";
  return el("bdi", { class: "text" }, shown, rest && el("span", { class: "soft" }, rest));
}

/** @param {{channels: [number, number][][], steps: number, low: number, high: number}} preview @param {Sample} sample */
function curvePreview(preview, sample) {
  const height = 100 / preview.channels.length;
  const outlines = preview.channels.map((band, place) => {
    const across = (i) => (100 * i) / Math.max(1, band.length - 1);
    const down = (value) => place * height + 0.05 * height + 0.9 * height * (1 - value / 1000);
    const corners = [...band.map(([, high], i) => [across(i), down(high)]), ...band.map(([low], i) => [across(i), down(low)]).reverse()];
    return svg("polygon", { points: corners.map((corner) => corner.map((value) => value.toFixed(2)).join(",")).join(" ") });
  });
  const drawn = svg("svg", { class: "curve", viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img", "aria-label": `signal of sample ${numbered(sample)}` }, ...outlines);
  const channels = preview.channels.length > 1 ? `${preview.channels.length} channels, ` : "";
  return el("div", { class: "signal" }, drawn, el("div", { class: "soft" }, `${channels}${count(preview.steps)} steps, ${score(preview.low)} to ${score(preview.high)}`));
}

/** @param {{rows: [string, string][], rest: number}} preview */
function tablePreview(preview) {
  const rows = preview.rows.map(([name, value]) => el("div", {}, el("dt", {}, named(name)), el("dd", {}, named(value))));
  return el("dl", { class: "row" }, ...rows, preview.rest > 0 && el("div", { class: "soft" }, el("dt", {}, "…"), el("dd", {}, `${count(preview.rest)} more`)));
}

/** The last part of a path. @param {string} name */
const lastPart = (name) => /[^/\\]+[/\\]*$/.exec(name)?.[0] ?? name;

/** Number and name of a sample. @param {string} key @param {boolean} [short] only the last part of the name */
function caption(key, short = false) {
  const sample = sampleOf(key);
  return el("span", { class: "who" }, sample.split && named(`${sample.split} `, "split"), el("strong", {}, `#${sample.index}`), sample.name && " ", sample.name && el("bdi", { class: "name", title: visible(sample.name) }, visible(short ? lastPart(sample.name) : sample.name)));
}
