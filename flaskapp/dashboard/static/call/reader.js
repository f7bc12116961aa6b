// Reads a call's lines from /client, and puts them where the server would.

const AGAIN_AFTER_MS = [500, 1000, 2000, 5000];

export class Reader {
  #after = 0;
  #failures = 0;
  #isOver = false;
  #lines = new Map();

  constructor(url, callSid, talk, spoken) {
    Object.assign(this, { url, callSid, talk, spoken });
    this.#open();
  }

  close() {
    this.#isOver = true;
    this.socket?.close();
  }

  // After the server has rendered the lines, which it may know less of.
  redraw() {
    for (const update of this.#lines.values()) {
      this.#draw(update);
    }
  }

  #open() {
    const socket = (this.socket = new WebSocket(this.url));
    socket.onopen = () => socket.send(JSON.stringify({ call_sid: this.callSid, after: this.#after }));
    socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
    socket.onclose = () => {
      if (!this.#isOver && socket === this.socket) {
        const wait = AGAIN_AFTER_MS[Math.min(this.#failures++, AGAIN_AFTER_MS.length - 1)];
        setTimeout(() => this.#isOver || this.#open(), wait);
      }
    };
  }

  #take(update) {
    this.#failures = 0;
    this.#after = Math.max(this.#after, update.sequence ?? 0);
    if (update.event === "call_ended") {
      this.#isOver = true;
      return;
    }
    this.#lines.set(update.item, update);
    this.#draw(update);
    if (update.is_final && update.transcript) {
      const line = document.createElement("p");
      line.textContent = `${update.speaker === "agent" ? "Agent" : "Caller"}: ${update.transcript}`;
      this.spoken.append(line);
    }
  }

  #draw(update) {
    const key = `line-${update.item}`;
    const list = this.talk.querySelector(".talk");
    let line = this.talk.querySelector(`[data-key="${CSS.escape(key)}"]`);
    if (line && !line.classList.contains("growing") && !line.classList.contains("early")) {
      this.#lines.delete(update.item); // the server knows all of it
      return;
    }
    if (!update.transcript) {
      return;
    }
    if (!line) {
      line = made(update.speaker, key);
      const isLow = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
      list.append(line);
      if (isLow) {
        list.scrollTop = list.scrollHeight;
      }
    }
    const words = line.querySelector(".words");
    if (update.transcript.length > words.textContent.length || update.is_final) {
      words.textContent = update.transcript;
    }
  }
}

function made(speaker, key) {
  const line = document.createElement("li");
  line.className = `said early growing ${speaker === "agent" ? "agent" : "caller"}`;
  line.dataset.key = key;
  const who = document.createElement("div");
  who.className = "who";
  who.textContent = speaker === "agent" ? "Agent" : "Caller";
  const words = document.createElement("p");
  words.className = "words";
  line.append(who, words);
  return line;
}
