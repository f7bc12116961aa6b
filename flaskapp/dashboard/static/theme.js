// The theme: what was chosen here before, else what the system asks for. Loaded before anything is painted.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const KEY = "answerline-theme";

  const stored = () => {
    try { return localStorage.getItem(KEY); } catch { return null; }
  };
  const keep = (theme) => {
    try { localStorage.setItem(KEY, theme); } catch { /* private windows: it holds for this page */ }
  };
  const show = (theme) => {
    root.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (button) {
      button.textContent = theme === "dark" ? "Light theme" : "Dark theme";
    }
    document.dispatchEvent(new Event("themechange")); // for what is drawn on a canvas
  };
  const wanted = () => {
    const chosen = stored();
    return chosen === "dark" || chosen === "light" ? chosen : system.matches ? "dark" : "light";
  };

  show(wanted());
  system.addEventListener("change", () => show(wanted()));
  document.addEventListener("DOMContentLoaded", () => {
    show(wanted());
    document.getElementById("theme")?.addEventListener("click", () => {
      const next = root.dataset.theme === "dark" ? "light" : "dark";
      keep(next);
      show(next);
    });
  });
})();
