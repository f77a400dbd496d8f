// Light or dark: as the browser is, or as was chosen here.

import { word } from "./words.js";

const KEY = "uem-theme";
const SIGNS = { auto: "◐", light: "☀", dark: "☾" };

/** A button that goes through the themes; `changed()` after each change, also of the browser's own. */
export function themes(button, changed) {
  const use = (theme) => {
    document.documentElement.dataset.theme = theme;
    button.textContent = `${SIGNS[theme]} ${word(theme)}`;
  };
  const kept = localStorage.getItem(KEY);
  use(kept in SIGNS ? kept : "auto");
  button.setAttribute("aria-label", word("theme"));
  button.addEventListener("click", () => {
    const names = Object.keys(SIGNS);
    const next = names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length];
    localStorage.setItem(KEY, next);
    use(next);
    changed();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
}
