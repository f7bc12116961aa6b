// One call on the wire: begun by an operator's POST, carried by the same socket as a carrier's, led on after breaks.

import { Messages, read } from "./messages.js";

const GIVES_UP_AFTER = 6;
const LAST_WORDS_MS = 5000; // the server closes sooner: it waits for the caller's last words

export class Trouble extends Error {}

export class Line extends EventTarget {
  #socket = null;
  #messages = null;
  #isOver = false;
  #hasEnded = false;

  // Events: "open", "audio", "mark", "clear", "broken", "end" with {then, words} in `detail`.
  constructor(calls) {
    super();
    this.calls = calls;
  }

  // The call's {call_sid, stream_url, call_url, engine}. Trouble says in words why there is none.
  async begin(called) {
    this.call = await this.#ask(this.calls, called ? { called } : {});
    if (this.#isOver) {
      this.#follow({ gone: true }); // hung up while it was begun
    } else {
      this.#dial(this.call.stream_url);
    }
    return this.call;
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  media(frame) {
    if (this.isOpen && this.#socket.bufferedAmount < 1 << 16) { // of a line that is stuck, what is late is lost
      this.#socket.send(this.#messages.media(frame));
    }
  }

  reached(mark) {
    this.#send((messages) => messages.mark(mark));
  }

  press(digit) {
    this.#send((messages) => messages.dtmf(digit));
  }

  type(text) {
    this.#send((messages) => messages.text(text));
  }

  hangUp() {
    this.#isOver = true;
    const socket = this.#socket;
    if (!this.call) {
      return; // as soon as there is one
    }
    if (!this.isOpen) {
      if (socket) {
        socket.onclose = null;
        socket.close();
      }
      this.#follow({ gone: true });
      return;
    }
    this.#send((messages) => messages.stop());
    setTimeout(() => socket.close(), LAST_WORDS_MS);
  }

  // The page goes away: nobody waits for an answer.
  leave() {
    this.#isOver = true;
    if (!this.call) {
      return;
    }
    this.#send((messages) => messages.stop());
    const gone = new Blob([JSON.stringify({ gone: true })], { type: "application/json" });
    navigator.sendBeacon(`${this.calls}/${this.call.call_sid}/next`, gone);
  }

  #send(make) {
    if (this.isOpen) {
      this.#socket.send(make(this.#messages));
    }
  }

  #dial(path) {
    const url = new URL(path, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = (this.#socket = new WebSocket(url));
    this.#messages = new Messages(this.call.call_sid, `MZ${crypto.randomUUID().replaceAll("-", "")}`);
    socket.onopen = () => {
      socket.send(this.#messages.connected());
      socket.send(this.#messages.start());
      this.#tell("open");
    };
    socket.onmessage = ({ data }) => {
      const told = read(data);
      for (const [name, value] of Object.entries(told ?? {})) {
        this.#tell(name, value);
      }
    };
    socket.onclose = () => this.#follow({});
  }

  // The stream is over: what next?
  async #follow(asked) {
    let why = "The connection to the server was lost.";
    for (let attempt = 0; attempt < GIVES_UP_AFTER; attempt++) {
      if (!this.#isOver) {
        this.#tell("broken");
      }
      try {
        const next = await this.#ask(`${this.calls}/${this.call.call_sid}/next`, this.#isOver ? { gone: true } : asked);
        if (next.then === "stream" && !this.#isOver) {
          this.#dial(next.stream_url);
        } else {
          this.#tell("end", next);
        }
        return;
      } catch (error) {
        if (error instanceof Trouble || this.#isOver) {
          why = error instanceof Trouble ? error.message : why; // it did answer
          break;
        }
      }
      await new Promise((done) => setTimeout(done, Math.min(500 * 2 ** attempt, 8000)));
    }
    this.#tell("end", { then: "over", words: this.#isOver ? "You hung up." : why });
  }

  async #ask(url, asked) {
    const answer = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: JSON.stringify(asked),
      redirect: "error",
    });
    const told = await answer.json().catch(() => ({}));
    if (!answer.ok) {
      throw new Trouble(answer.status === 401 ? "You are signed out. Reload the page to sign in." : told.detail || `The server says ${answer.status}.`);
    }
    return told;
  }

  #tell(name, detail = null) {
    if (name === "end") {
      if (this.#hasEnded) {
        return; // hung up while it was asked what follows
      }
      this.#hasEnded = true;
    }
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
