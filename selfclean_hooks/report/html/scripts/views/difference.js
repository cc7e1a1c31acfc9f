// Where two images differ, pixel by pixel, brightened so that the greatest difference is white.

const DIFFERENCE = 160; // pixels on a side, at most

/** @param {string} one @param {string} other @returns {Promise<HTMLElement>} */
async function difference(one, other) {
  const [first, second] = await Promise.all([drawn(one), drawn(other)]);
  const canvas = el("canvas", { role: "img" });
  canvas.width = first.width;
  canvas.height = first.height;
  const context = canvas.getContext("2d");
  const left = pixels(first, canvas.width, canvas.height);
  const right = pixels(second, canvas.width, canvas.height);
  const gaps = new Float64Array(left.data.length / 4);
  for (let i = 0; i < gaps.length; i++) for (let c = 0; c < 3; c++) gaps[i] = Math.max(gaps[i], Math.abs(left.data[4 * i + c] - right.data[4 * i + c]));
  const most = gaps.reduce((a, b) => Math.max(a, b), 0);
  const shown = context.createImageData(canvas.width, canvas.height);
  for (let i = 0; i < gaps.length; i++) shown.data.set([gaps[i], gaps[i], gaps[i]].map((gap) => (most ? (255 * gap) / most : 0)).concat(255), 4 * i);
  context.putImageData(shown, 0, 0);
  const text = most ? `greatest difference ${share(most / 255)}, mean ${share(gaps.reduce((a, b) => a + b, 0) / gaps.length / 255)}` : "no difference in these thumbnails";
  canvas.setAttribute("aria-label", `difference: ${text}`);
  return el("figure", { class: "difference" }, canvas, el("figcaption", { class: "soft" }, text));
}

/** @param {string} key @returns {Promise<HTMLImageElement>} */
async function drawn(key) {
  const image = new Image();
  image.src = addressOf(key);
  await image.decode();
  return image;
}

/** @param {HTMLImageElement} image @param {number} width @param {number} height */
function pixels(image, width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  context.drawImage(image, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}
