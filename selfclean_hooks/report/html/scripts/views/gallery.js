// The findings of an issue as a list of cards. Only those near the view are in the page: there may be thousands.

const MARGIN = 600; // pixels beyond the view that are filled
const GAP = 10;
const MEMBERS = 3; // of a set that a card shows
const SYMBOLS = { confirmed: "confirmed", rejected: "no issue", relabelled: "relabelled", some: "in part" };

/**
 * @typedef {{root: HTMLElement, list: () => Item[], focused: () => Item|null, focus: (item: Item, scroll?: boolean) => void,
 *   step: (by: number) => void, columns: () => number, fill: () => void, chosen: () => Item[],
 *   choose: (those: Item[]) => void, toggle: (item: Item) => void}} Gallery `chosen`: what is selected, in order
 */

/** @param {string} issue @param {HTMLElement} status @returns {Gallery} */
function gallery(issue, status) {
  const { isPair, title } = raw.issues[issue];
  const kind = kindOf(issue);
  const size = { images: isPair ? [250, 190] : [138, issue === "label_errors" ? 208 : 186], text: [isPair ? 420 : 300, isPair ? 190 : 170], table: [isPair ? 380 : 220, 230], none: [isPair ? 320 : 240, isPair ? 96 : 74] }[kind];
  const root = el("div", { class: `gallery ${kind}${isPair ? " pairs" : ""}`, role: "listbox", tabindex: 0, "aria-label": title, "aria-multiselectable": "true" });
  /** @type {Item[]} */
  let list = [];
  /** @type {Item|null} */
  let focused = null;
  /** @type {Set<Item>} */
  let chosen = new Set();
  /** @type {Item|null} where a range begins */
  let anchor = null;
  /** @type {Map<Item, HTMLElement>} */
  const there = new Map();
  let columns = 1;
  let width = 0;

  const place = (card, at) => {
    card.style.width = `${width}px`;
    card.style.height = `${size[1]}px`;
    card.style.transform = `translate(${(at % columns) * (width + GAP)}px, ${Math.floor(at / columns) * (size[1] + GAP)}px)`;
    card.setAttribute("aria-posinset", String(at + 1));
    card.setAttribute("aria-setsize", String(list.length));
  };
  const fill = () => {
    if (!root.isConnected || root.closest("[hidden]")) return;
    const box = root.getBoundingClientRect();
    columns = Math.max(1, Math.floor((box.width + GAP) / (size[0] + GAP)));
    width = Math.floor((box.width - (columns - 1) * GAP) / columns);
    const high = size[1] + GAP;
    root.style.height = `${Math.max(high, Math.ceil(list.length / columns) * high)}px`;
    const first = Math.max(0, Math.floor((-box.top - MARGIN) / high)) * columns;
    const last = Math.min(list.length, Math.ceil((innerHeight - box.top + MARGIN) / high) * columns);
    const near = new Map();
    for (let at = first; at < last; at++) near.set(list[at], at);
    if (focused !== null && list.includes(focused)) near.set(focused, list.indexOf(focused));
    for (const [item, card] of there) {
      if (near.has(item)) continue;
      card.remove();
      there.delete(item);
    }
    for (const [item, at] of near) {
      let card = there.get(item);
      if (card === undefined) {
        card = cardOf(item, kind);
        card.addEventListener("click", (event) => click(event, item));
        there.set(item, card);
        root.append(card);
      }
      place(card, at);
      state(card, item);
    }
  };
  const state = (card, item) => {
    card.setAttribute("aria-selected", String(item === focused));
    card.setAttribute("aria-checked", String(chosen.has(item)));
    const verdict = stateOf(item);
    card.dataset.state = verdict;
    card.classList.toggle("beyond", !isFlagged(item));
    /** @type {HTMLElement} */ (card.querySelector(".state")).textContent = SYMBOLS[verdict] ?? "";
  };
  const choose = (those) => {
    chosen = new Set(those);
    root.classList.toggle("selecting", chosen.size > 0);
    for (const [item, card] of there) state(card, item);
    changed("selection", issue);
  };
  const toggle = (item) => {
    anchor = item;
    choose(chosen.has(item) ? [...chosen].filter((one) => one !== item) : [...chosen, item]);
  };
  const click = (event, item) => {
    if (event.shiftKey) {
      const [from, to] = [anchor, item].map((one) => list.indexOf(one)).sort((a, b) => a - b);
      return choose([...chosen, ...list.slice(Math.max(0, from), to + 1)]);
    }
    if (event.ctrlKey || event.metaKey || event.target.closest(".pick")) return toggle(item);
    focus(item, true);
  };
  rectangleOn(root, (box, isMore) => {
    const [across, down] = [width + GAP, size[1] + GAP];
    const [first, last] = [Math.max(0, Math.floor(box.left / across)), Math.min(columns - 1, Math.floor(box.right / across))];
    const touched = [];
    for (let row = Math.max(0, Math.floor(box.top / down)); row <= Math.floor(box.bottom / down) && row * columns < list.length; row++) touched.push(...list.slice(row * columns + first, row * columns + last + 1));
    choose(isMore ? [...chosen, ...touched] : touched);
  });
  const focus = (item, scroll = false) => {
    focused = anchor = item;
    fill();
    root.setAttribute("aria-activedescendant", idOf(item));
    const aside = scroll && matchMedia("(max-width: 60rem)").matches ? root.closest(".review")?.querySelector(".focus") : null;
    if (aside) {
      const { top } = aside.getBoundingClientRect();
      if (top < 50 || top > innerHeight / 2) scrollBy({ top: top - 60, behavior: "instant" });
    } else if (scroll) {
      const [box, high] = [root.getBoundingClientRect(), size[1] + GAP];
      const top = box.top + Math.floor(list.indexOf(item) / columns) * high;
      const header = 150;
      if (top < header || top + high > innerHeight) scrollBy({ top: top < header ? top - header : top + high - innerHeight, behavior: "instant" });
    }
    changed("focus", item);
  };
  const step = (by) => {
    if (!list.length) return;
    const at = focused === null ? -1 : list.indexOf(focused);
    const next = Math.min(list.length - 1, Math.max(0, at + by));
    if (list[next] !== focused) focus(list[next], true);
  };
  const again = () => {
    list = listed(issue);
    const flagged = list.filter(isFlagged).length;
    status.textContent = list.length ? `${count(list.length)} shown, ${count(flagged)} of them flagged` : "Nothing is listed here";
    root.toggleAttribute("data-empty", !list.length);
    if (focused !== null && !list.includes(focused)) root.removeAttribute("aria-activedescendant");
    const those = new Set(list);
    for (const [item, card] of there) if (!those.has(item)) { card.remove(); there.delete(item); }
    if ([...chosen].some((item) => !those.has(item))) choose([...chosen].filter((item) => those.has(item)));
    fill();
  };
  onChange("filter", again);
  onChange("threshold", again);
  onChange("marks", (which) => {
    if (which && which !== issue) return;
    for (const [item, card] of there) state(card, item);
  });
  new ResizeObserver(fill).observe(root);
  again();
  return { root, list: () => list, focused: () => focused, focus, step, columns: () => columns, fill, chosen: () => list.filter((item) => chosen.has(item)), choose, toggle };
}

/** @param {Item} item */
const idOf = (item) => `card-${item.issue}-${item.place}`;

/** What most findings of an issue are shown as. @param {string} issue @returns {"images"|"text"|"table"|"none"} */
function kindOf(issue) {
  const keys = items[issue].slice(0, 200).flatMap((item) => item.samples);
  if (keys.some((key) => key in raw.images)) return "images";
  const kinds = keys.map((key) => raw.previews[key]?.kind);
  return kinds.includes("text") || kinds.includes("curve") ? "text" : kinds.includes("table") ? "table" : "none";
}

/** @param {Item} item @param {string} kind @returns {HTMLElement} */
function cardOf(item, kind) {
  const several = item.samples.length > 1;
  const shown = item.samples.slice(0, several ? (kind === "images" ? MEMBERS : 2) : 1);
  const rest = item.samples.length - shown.length;
  const seenAs = kind === "none" ? [] : shown.map((key) => el("div", { class: "seen" }, thumbnailOf(key)));
  const first = sampleOf(item.samples[0]);
  const labels = item.issue === "label_errors" && el("span", { class: "labels" }, named(first.given ?? ""), " → ", named(first.predicted ?? "")) || item.words && el("span", { class: "labels" }, item.words);
  const what = several ? shown.map((key) => caption(key, true)) : [caption(item.samples[0], true)];
  return el("div", { class: "card", role: "option", id: idOf(item) }, el("span", { class: "pick", "aria-hidden": "true" }), seenAs.length > 0 && el("div", { class: `row${shown.length}` }, ...seenAs),
    el("div", { class: "words" }, ...what, rest > 0 && el("span", { class: "soft" }, `and ${count(rest)} more`), labels),
    el("div", { class: "foot" }, el("span", { class: "soft" }, score(item.score)), el("span", { class: "state" })));
}
