// <call-lanes>: both voices over time, the caller's above the agent's, with a place to play from. The sound
// where it is kept, else when each of them spoke.

const STEP_MS = 1000;
const FAR_MS = 10000;
const GAP = 4;

class CallLanes extends HTMLElement {
  #timeline = { length_ms: 0, lines: [], marks: [] };
  #sound = {};
  #at = 0;
  isUsed = false;

  connectedCallback() {
    this.canvas = document.createElement("canvas");
    this.slider = part("div", "lanes");
    this.slider.append(this.canvas);
    Object.entries({ role: "slider", tabindex: 0, "aria-label": "Place in the call", "aria-valuemin": 0 })
      .forEach(([name, value]) => this.slider.setAttribute(name, value));
    this.button = part("button", "quiet", "Play");
    this.button.type = "button";
    this.time = part("span", "number muted small");
    this.said = part("span", "muted small");
    this.player = part("div", "row player");
    this.player.append(this.button, this.time, this.said);
    this.replaceChildren(this.slider, this.player);
    this.audio = new Audio();
    this.audio.preload = "none";
    this.audio.addEventListener("timeupdate", () => this.#moved(this.audio.currentTime * 1000));
    for (const name of ["play", "pause", "ended"]) {
      this.audio.addEventListener(name, () => this.#label());
    }
    this.button.addEventListener("click", () => this.#toggle());
    this.slider.addEventListener("pointerdown", (event) => this.#point(event));
    this.slider.addEventListener("keydown", (event) => this.#press(event));
    new ResizeObserver(() => this.#draw()).observe(this.slider);
    document.addEventListener("themechange", () => this.#draw());
    this.#label();
  }

  set timeline(timeline) {
    this.#timeline = timeline;
    this.#label();
    this.#draw();
  }

  set sound(sound) {
    this.#sound = sound;
    if (sound.peaks) {
      this.audio.src = this.dataset.audio;
    }
    this.#label();
    this.#draw();
  }

  get at() { return this.#at; }

  get #length() { return Math.max(this.#timeline.length_ms, this.#sound.duration_ms ?? 0, 1); }

  // Stand there; what plays goes on from there.
  go(ms) {
    const at = Math.min(Math.max(ms, 0), this.#length);
    this.isUsed = true;
    if (this.#sound.peaks) {
      this.audio.currentTime = at / 1000;
    }
    this.#moved(at);
  }

  #moved(ms) {
    this.#at = ms;
    this.#label();
    this.#draw();
    this.dispatchEvent(new Event("seek"));
  }

  #toggle() {
    this.isUsed = true;
    if (this.audio.paused) {
      this.audio.play().catch(() => { this.said.textContent = "The audio could not be played."; });
    } else {
      this.audio.pause();
    }
  }

  #point(event) {
    const box = this.canvas.getBoundingClientRect();
    this.go(((event.clientX - box.left) / box.width) * this.#length);
  }

  #press(event) {
    const far = event.shiftKey ? 5 : 1;
    const places = {
      ArrowLeft: this.#at - STEP_MS * far, ArrowDown: this.#at - STEP_MS * far,
      ArrowRight: this.#at + STEP_MS * far, ArrowUp: this.#at + STEP_MS * far,
      PageDown: this.#at - FAR_MS, PageUp: this.#at + FAR_MS, Home: 0, End: this.#length,
    };
    if (event.key in places) {
      event.preventDefault();
      this.go(places[event.key]);
    } else if (event.key === " " && this.#sound.peaks) {
      event.preventDefault();
      this.#toggle();
    }
  }

  #label() {
    const told = `${clock(this.#at)} of ${clock(this.#length)}`;
    this.time.textContent = told;
    this.slider.setAttribute("aria-valuemax", Math.round(this.#length));
    this.slider.setAttribute("aria-valuenow", Math.round(this.#at));
    this.slider.setAttribute("aria-valuetext", told);
    this.button.hidden = !this.#sound.peaks;
    this.button.textContent = this.audio.paused ? "Play" : "Pause";
    const without = this.#sound.trouble ?? "The sound of this call is not kept (RECORD_CALLS); this is when each of them spoke.";
    this.said.textContent = this.#sound.peaks === null ? without : "";
  }

  #draw() {
    const { canvas } = this;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width) {
      return;
    }
    const scale = devicePixelRatio || 1;
    canvas.width = width * scale;
    canvas.height = height * scale;
    const paint = canvas.getContext("2d");
    paint.scale(scale, scale);
    const style = getComputedStyle(this);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const lane = { caller: [16, (height - 16) / 2 - GAP], agent: [16 + (height - 16) / 2, (height - 16) / 2 - GAP] };
    const x = (ms) => (ms / this.#length) * width;
    if (this.#sound.peaks) {
      this.#drawSound(paint, lane, x, colour);
    } else {
      this.#drawLines(paint, lane, x, colour);
    }
    paint.fillStyle = colour("warn");
    for (const [ms, kind] of this.#timeline.marks) {
      paint.fillStyle = colour(kind === "fault" ? "bad" : "warn");
      diamond(paint, Math.min(Math.max(x(ms), 6), width - 6), 8, 5);
    }
    paint.fillStyle = colour("text");
    paint.fillRect(Math.min(x(this.#at), width - 2), 0, 2, height);
  }

  #drawLines(paint, lane, x, colour) {
    for (const [speaker, start, end, wasCut] of this.#timeline.lines) {
      const [top, tall] = lane[speaker] ?? lane.agent;
      const wide = Math.max(x(end) - x(start), 2);
      paint.fillStyle = colour(speaker === "agent" ? "agent" : "caller");
      paint.beginPath();
      paint.roundRect(x(start), top + tall * 0.2, wide, tall * 0.6, 4);
      paint.fill();
      if (wasCut) {
        paint.fillStyle = colour("warn");
        paint.fillRect(x(end) - 2, top, 3, tall);
      }
    }
  }

  #drawSound(paint, lane, x, colour) {
    const { peaks, duration_ms: duration } = this.#sound;
    const each = duration / peaks.length;
    ["caller", "agent"].forEach((speaker, side) => {
      const [top, tall] = lane[speaker];
      paint.fillStyle = colour(speaker);
      peaks.forEach((pair, at) => {
        const high = Math.max(Math.sqrt(pair[side]) * tall, 1);
        paint.fillRect(x(at * each), top + (tall - high) / 2, Math.max(x(each) - 0.4, 0.6), high);
      });
    });
  }
}

function diamond(paint, x, y, size) {
  paint.beginPath();
  paint.moveTo(x, y - size);
  paint.lineTo(x + size, y);
  paint.lineTo(x, y + size);
  paint.lineTo(x - size, y);
  paint.fill();
}

function clock(ms) {
  const seconds = Math.floor(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

function part(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

customElements.define("call-lanes", CallLanes);
