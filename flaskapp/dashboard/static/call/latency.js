// <call-latency>: a bar for each turn, of the parts of what the caller waited for. Its twin is a table.

const HEIGHT = 240;
const PARTS = [["words", "Transcript there"], ["sent", "First audio sent"], ["line", "Heard"], ["late", "Transcript came later"]];

class CallLatency extends HTMLElement {
  #steps = [];
  #told = "";

  connectedCallback() {
    const redraw = () => { this.#told = ""; this.steps = this.#steps; };
    document.addEventListener("themechange", redraw);
    new ResizeObserver(() => this.chart?.setSize({ width: this.clientWidth, height: HEIGHT })).observe(this);
  }

  set steps(steps) {
    this.#steps = steps;
    if (this.#told === JSON.stringify(steps)) {
      return;
    }
    this.#told = JSON.stringify(steps);
    this.chart?.destroy();
    this.chart = null;
    this.replaceChildren();
    if (steps.length) {
      this.#draw();
    }
  }

  #draw() {
    const host = document.createElement("div");
    host.className = "chart";
    host.setAttribute("role", "img");
    host.setAttribute("aria-label", `Latency of ${this.#steps.length} ${this.#steps.length === 1 ? "turn" : "turns"}; the table below has the figures`);
    this.append(legend(this.dataset.target), host);
    const style = getComputedStyle(this);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const bars = (name, fill) => ({
      label: name, fill: colour(fill), stroke: colour(fill), width: 0,
      paths: uPlot.paths.bars({ size: [0.6, 46] }), points: { show: false },
    });
    const late = {
      label: "late", stroke: colour("warn"), paths: () => null,
      points: { show: true, size: 9, fill: colour("warn"), stroke: colour("surface") },
    };
    const axis = { stroke: colour("muted"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false } };
    const target = Number(this.dataset.target);
    const most = Math.max(target, ...this.#steps.map((step) => Math.max(step.heard_ms ?? 0, step.sent_ms, step.words_ms ?? 0)));
    this.chart = new uPlot({
      width: this.clientWidth || 400,
      height: HEIGHT,
      cursor: { show: false },
      legend: { show: false },
      scales: {
        x: { time: false, range: [0.4, Math.max(this.#steps.length, 4) + 0.6] },
        y: { range: [0, most * 1.12] },
      },
      axes: [
        { ...axis, grid: { show: false }, incrs: [1, 2, 5, 10, 20, 50], values: (_, turns) => turns.map((turn) => (this.#steps[turn - 1] ? String(turn) : "")) },
        { ...axis, size: 56, values: (_, all) => all.map((ms) => (ms >= 1000 ? `${ms / 1000} s` : `${ms} ms`)) },
      ],
      series: [{}, bars("heard", "caller"), bars("sent", "agent"), bars("words", "line-strong"), late],
      hooks: { draw: [(chart) => line(chart, target, colour("bad"))] },
    }, columns(this.#steps), host);
  }
}

// Each bar stands before the longer ones: the whole way, up to leaving here, up to the transcript.
function columns(steps) {
  return [
    steps.map((_, at) => at + 1),
    steps.map((step) => step.heard_ms ?? null),
    steps.map((step) => step.sent_ms),
    steps.map((step) => (step.words_ms !== null && step.words_ms <= step.sent_ms ? step.words_ms : null)),
    steps.map((step) => (step.words_ms !== null && step.words_ms > step.sent_ms ? step.words_ms : null)),
  ];
}

// What a good answer takes.
function line(chart, target, colour) {
  const { ctx: paint, bbox } = chart;
  const y = chart.valToPos(target, "y", true);
  paint.save();
  paint.strokeStyle = colour;
  paint.lineWidth = devicePixelRatio;
  paint.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
  paint.beginPath();
  paint.moveTo(bbox.left, y);
  paint.lineTo(bbox.left + bbox.width, y);
  paint.stroke();
  paint.restore();
}

function legend(target) {
  const row = document.createElement("p");
  row.className = "row small legend";
  for (const [name, text] of [...PARTS, ["target", `Target ${target} ms`]]) {
    const swatch = document.createElement("span");
    swatch.className = `swatch ${name}`;
    swatch.textContent = text;
    row.append(swatch);
  }
  return row;
}

customElements.define("call-latency", CallLatency);
