// <level-meter data-name="You">: how loud somebody is, as a bar and as a number for those who ask.

const FLOOR_DB = -50;

// 0 to 1 on a scale that ears have.
export function shown(level) {
  const db = 20 * Math.log10(Math.max(level, 1e-6));
  return Math.max(0, Math.min(1, 1 - db / FLOOR_DB));
}

class LevelMeter extends HTMLElement {
  connectedCallback() {
    const name = document.createElement("span");
    name.textContent = this.dataset.name;
    name.ariaHidden = "true";
    this.tube = document.createElement("span");
    this.tube.className = "tube";
    this.tube.setAttribute("role", "meter");
    this.tube.setAttribute("aria-label", `Level: ${this.dataset.name}`);
    this.tube.setAttribute("aria-valuemin", "0");
    this.tube.setAttribute("aria-valuemax", "100");
    this.fill = document.createElement("span");
    this.fill.className = "fill";
    this.tube.append(this.fill);
    this.append(name, this.tube);
    this.show(0);
  }

  // Nobody is heard any more: at once, not by and by.
  rest() {
    this.value = 0;
    this.show(0);
  }

  show(level) {
    const wanted = shown(level);
    const known = this.value ?? 0;
    this.value = wanted > known ? wanted : known * 0.7 + wanted * 0.3; // it falls more slowly than it rises
    this.fill.style.setProperty("--level", this.value.toFixed(3));
    this.tube.setAttribute("aria-valuenow", String(Math.round(this.value * 100)));
  }
}

customElements.define("level-meter", LevelMeter);
