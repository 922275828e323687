// Loaded before the first paint, so that a remembered theme never flashes. "auto" follows the system.
"use strict";
(() => {
  const THEMES = ["auto", "light", "dark"];
  const remembered = () => {
    try {
      return localStorage.getItem("freshlens.theme");
    } catch {
      return null;
    }
  };
  const apply = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  };
  let theme = THEMES.includes(remembered()) ? remembered() : "auto";
  apply(theme);

  const label = (button) => {
    button.title = `Theme: ${theme}`;
    button.setAttribute("aria-label", `Theme: ${theme}. Change`);
  };
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    label(button);
    button.addEventListener("click", () => {
      theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
      try {
        localStorage.setItem("freshlens.theme", theme);
      } catch {
        // Private browsing: the choice lasts for this page only.
      }
      apply(theme);
      label(button);
    });
  });
})();
