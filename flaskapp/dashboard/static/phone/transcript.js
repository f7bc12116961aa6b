// <live-transcript>: reads a call's lines from /client as they are spoken, and goes on where it was after a break.
// "broken" is told at each break, for a browser does not say why; `pause` ends the asking until `goOn`.

const AGAIN_AFTER_MS = [500, 1000, 2000, 4000];
const UNKNOWN = 1008;
const SPEAKERS = { caller: "You", agent: "Agent" };

class LiveTranscript extends HTMLElement {
  #socket = null;
  #after = 0;
  #failures = 0;
  #isOver = true;
  #isPaused = false;
  #again = 0;
  #read = () => {};

  connectedCallback() {
    this.tabIndex = 0; // it scrolls
    this.setAttribute("role", "group");
    this.setAttribute("aria-label", "Lines");
  }

  // Begin with another call. `url` is the reader's WebSocket.
  open(url, callSid) {
    this.close();
    this.#after = 0;
    this.#failures = 0;
    this.#isOver = this.#isPaused = false;
    this.final = lines("log"); // read out as they come
    this.growing = lines("group");
    this.growing.setAttribute("aria-hidden", "true"); // nobody wants every word of a line read out anew
    this.replaceChildren(this.final, this.growing);
    this.#read = () => this.#ask(url, callSid);
    this.#read();
  }

  pause() {
    this.#isPaused = true;
    clearTimeout(this.#again);
    this.#socket?.close(); // what it may still bring comes again later
    this.#socket = null;
  }

  goOn() {
    if (this.#isPaused && !this.#isOver) {
      this.#isPaused = false;
      this.#read();
    }
  }

  close() {
    this.#isOver = true;
    clearTimeout(this.#again);
    this.#socket?.close();
    this.#socket = null;
  }

  // Something that happened, in the place where it did.
  note(text) {
    const noted = document.createElement("p");
    noted.className = "said noted";
    noted.textContent = text;
    const about = [...(this.growing?.querySelectorAll(".agent") ?? [])].at(-1);
    if (about) {
      about.after(noted); // it goes where that line goes
    } else {
      this.final?.append(noted);
    }
    this.#scroll();
  }

  #ask(url, callSid) {
    const socket = (this.#socket = new WebSocket(url));
    socket.onopen = () => socket.send(JSON.stringify({ call_sid: callSid, after: this.#after }));
    socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
    socket.onclose = ({ code }) => {
      if (this.#isOver || this.#isPaused || socket !== this.#socket) {
        return;
      }
      this.dispatchEvent(new Event("broken"));
      if (code === UNKNOWN && this.#failures > 1) {
        return;
      }
      const wait = AGAIN_AFTER_MS[Math.min(this.#failures++, AGAIN_AFTER_MS.length - 1)];
      this.#again = setTimeout(this.#read, wait);
    };
  }

  #take(update) {
    this.#failures = 0;
    this.#after = Math.max(this.#after, update.sequence ?? 0);
    if (update.event === "call_ended") {
      this.#isOver = true;
      this.final.append(...this.growing.querySelectorAll(".noted"));
      this.growing.replaceChildren();
      this.dispatchEvent(new Event("over"));
      return;
    }
    const known = this.growing.querySelector(`[data-item="${CSS.escape(update.item)}"]`);
    const said = known ?? line(update.speaker, update.item);
    said.querySelector("p").textContent = update.transcript;
    if (update.is_final) {
      said.classList.remove("growing");
      const noted = notesOf(said);
      said.remove();
      if (update.transcript && !this.final.querySelector(`[data-item="${CSS.escape(update.item)}"]`)) {
        this.final.append(said);
      }
      this.final.append(...noted);
    } else if (!known) {
      this.growing.append(said);
    }
    this.#scroll();
  }

  #scroll() {
    this.scrollTop = this.scrollHeight;
  }
}

// What was noted of a line stands behind it.
function notesOf(said) {
  const notes = [];
  for (let next = said.nextElementSibling; next?.classList.contains("noted"); next = next.nextElementSibling) {
    notes.push(next);
  }
  return notes;
}

function lines(role) {
  const list = document.createElement("div");
  list.className = "talk";
  list.setAttribute("role", role);
  if (role === "log") {
    list.setAttribute("aria-label", "What was said");
    list.setAttribute("aria-live", "polite");
  }
  return list;
}

function line(speaker, item) {
  const said = document.createElement("div");
  said.className = `said growing ${speaker === "agent" ? "agent" : "caller"}`;
  said.dataset.item = item;
  const who = document.createElement("span");
  who.className = "who";
  who.textContent = SPEAKERS[speaker] ?? speaker;
  said.append(who, document.createElement("p"));
  return said;
}

customElements.define("live-transcript", LiveTranscript);
