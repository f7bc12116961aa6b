// A call's page: what the server knows of it, again and again while it goes on, and its lines as they are said.
import { poll } from "../live/poll.js";
import { show } from "../live/parts.js";
import "./events.js";
import "./lanes.js";
import "./latency.js";
import { Reader } from "./reader.js";

const CLOSED_MS = 1500; // what is written after the end is there by then

class CallPage extends HTMLElement {
  connectedCallback() {
    this.lanes = this.querySelector("call-lanes");
    this.latency = this.querySelector("call-latency");
    this.raw = this.querySelector("raw-events");
    this.raw.source = `${this.dataset.at}/events.json`;
    this.addEventListener("click", ({ target }) => this.#seek(target));
    this.lanes.addEventListener("seek", () => this.#light());
    const west = new Date().getTimezoneOffset();
    const address = () => `${this.dataset.at}/parts.json?west=${west}`;
    poll(address, (told) => this.#show(told), document.getElementById("stale"));
  }

  #show(told) {
    for (const [name, html] of Object.entries(told.parts)) {
      show(this.querySelector(`[data-part="${name}"]`), html);
    }
    this.lanes.timeline = told.timeline;
    this.latency.steps = told.steps;
    this.raw.refresh();
    if (!told.is_over) {
      this.#read();
      this.reader.redraw();
      return true;
    }
    this.reader?.close();
    if (this.wasOn) { // once more, for what was written behind the end
      this.wasOn = false;
      return true;
    }
    this.#hear();
    this.#light();
    return false;
  }

  // Lines grow as they are said, not only as often as the server is asked.
  #read() {
    this.wasOn = true;
    if (this.reader) {
      return;
    }
    const url = new URL(this.dataset.reader, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const talk = this.querySelector('[data-part="talk"]');
    this.reader = new Reader(url.href, this.dataset.sid, talk, document.getElementById("spoken"));
  }

  async #hear() {
    await new Promise((done) => setTimeout(done, this.reader ? CLOSED_MS : 0));
    const answer = await fetch(`${this.dataset.at}/sound.json`).catch(() => null);
    const sound = answer?.ok ? await answer.json() : {};
    this.lanes.sound = sound;
    if (sound.peaks) {
      this.querySelector("#wav").hidden = false;
    }
  }

  #seek(target) {
    const button = target.closest?.("[data-seek]");
    if (button) {
      this.lanes.go(Number(button.dataset.seek));
    }
  }

  // The line that is heard at the place where the timeline stands.
  #light() {
    const at = this.lanes.at;
    for (const line of this.querySelectorAll("[data-start]")) {
      const isPresent = Number(line.dataset.start) <= at && at < Number(line.dataset.end);
      line.classList.toggle("present", isPresent && this.lanes.isUsed);
    }
  }
}

customElements.define("call-page", CallPage);
