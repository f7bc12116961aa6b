// <latency-chart>: a point for each turn, as a small curve and as a table that says the same.

const HEIGHT = 120;
const EDGE = { left: 44, right: 12, top: 10, bottom: 20 };
const SVG = "http://www.w3.org/2000/svg";

export function percentile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] : null;
}

export function inWords(seconds) {
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(2)} s`;
}

class LatencyChart extends HTMLElement {
  #waits = [];

  connectedCallback() {
    this.clear();
    new ResizeObserver(() => this.querySelector("svg")?.replaceWith(this.#curve())).observe(this);
  }

  clear() {
    this.#waits = [];
    const nothing = document.createElement("p");
    nothing.className = "muted";
    nothing.textContent = "A point for each of your turns is drawn here.";
    this.replaceChildren(nothing);
  }

  // Seconds.
  add(wait) {
    this.#waits.push(wait);
    this.replaceChildren(this.#sums(), this.#curve(), this.#table());
  }

  #sums() {
    const sums = element("p", "sums");
    const shown = [["Last turn", this.#waits.at(-1)], ["Median", percentile(this.#waits, 0.5)]];
    for (const [name, value] of shown) {
      const sum = element("span", "stat");
      sum.append(element("b", "", inWords(value)), element("span", "", name));
      sums.append(sum);
    }
    return sums;
  }

  #curve() {
    const most = Math.max(1, ...this.#waits) * 1.1;
    const width = this.clientWidth || 560;
    const step = (width - EDGE.left - EDGE.right) / Math.max(this.#waits.length - 1, 7);
    const x = (turn) => EDGE.left + turn * step;
    const y = (wait) => HEIGHT - EDGE.bottom - (wait / most) * (HEIGHT - EDGE.top - EDGE.bottom);
    const svg = drawn("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img" });
    svg.setAttribute("aria-label", `Latency of ${this.#waits.length} ${this.#waits.length === 1 ? "turn" : "turns"}; the table below has the figures`);
    for (const at of [0, most / 2.2, most / 1.1]) {
      svg.append(drawn("line", { class: "grid-line", x1: EDGE.left, x2: width - EDGE.right, y1: y(at), y2: y(at) }));
      const label = drawn("text", { x: EDGE.left - 6, y: y(at) + 4, "text-anchor": "end" });
      label.textContent = `${at.toFixed(1)} s`;
      svg.append(label);
    }
    const points = this.#waits.map((wait, turn) => `${x(turn)},${y(wait)}`).join(" ");
    svg.append(drawn("polyline", { class: "path", points }));
    this.#waits.forEach((wait, turn) => {
      const point = drawn("circle", { class: "point", cx: x(turn), cy: y(wait), r: 5 });
      const title = drawn("title", {});
      title.textContent = `Turn ${turn + 1}: ${inWords(wait)}`;
      point.append(title);
      svg.append(point);
    });
    return svg;
  }

  #table() {
    const details = element("details");
    details.open = this.querySelector("details")?.open ?? false;
    const table = element("table");
    table.append(element("caption", "", "From your last sound to the answer's first"));
    const head = table.createTHead().insertRow();
    for (const name of ["Turn", "Latency"]) {
      const cell = element("th", "number", name);
      cell.scope = "col";
      head.append(cell);
    }
    const body = table.createTBody();
    this.#waits.forEach((wait, turn) => {
      const row = body.insertRow();
      row.append(element("td", "number", String(turn + 1)), element("td", "number", inWords(wait)));
    });
    details.append(element("summary", "", "As a table"), table);
    return details;
  }
}

function element(name, className = "", text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function drawn(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    made.setAttribute(key, String(value));
  }
  return made;
}

customElements.define("latency-chart", LatencyChart);
