// Light, dark, or as the system has it.

const THEMES = { "": "Theme: system", light: "Theme: light", dark: "Theme: dark" };

/** @param {string} theme */
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  changed("theme");
}

function themeButton() {
  const names = Object.keys(THEMES);
  const button = el("button", { type: "button" }, THEMES[setting("theme")] ?? THEMES[""]);
  button.addEventListener("click", () => {
    const next = names[(names.indexOf(document.documentElement.dataset.theme ?? "") + 1) % names.length];
    setting("theme", next);
    setTheme(next);
    button.textContent = THEMES[next];
  });
  return button;
}
