// <live-board>: its parts are what the server says they are, two seconds ago at most.
import { poll } from "../live/poll.js";
import { show } from "../live/parts.js";

class LiveBoard extends HTMLElement {
  connectedCallback() {
    const west = document.querySelector('input[name="west"]');
    const minutes = String(new Date().getTimezoneOffset());
    if (west) {
      west.value = minutes;
    }
    const question = new URLSearchParams(location.search);
    question.set("west", minutes);
    const address = () => `${this.getAttribute("src")}?${question}`;
    poll(address, ({ parts }) => this.#show(parts), document.getElementById("stale"));
    setInterval(() => this.#tick(), 1000);
  }

  #show(parts) {
    for (const [name, html] of Object.entries(parts)) {
      const host = this.querySelector(`[data-part="${name}"]`);
      if (host) {
        show(host, html);
      }
    }
    this.#tick();
  }

  // Calls go on between two answers.
  #tick() {
    for (const time of this.querySelectorAll("time[data-began]")) {
      const began = Number(time.dataset.began);
      if (began) {
        time.textContent = clock(Date.now() / 1000 - began);
      }
    }
  }
}

export function clock(seconds) {
  const whole = Math.max(Math.floor(seconds), 0);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (value) => String(value).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

customElements.define("live-board", LiveBoard);
