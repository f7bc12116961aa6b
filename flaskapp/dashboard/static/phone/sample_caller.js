// The sample caller: says one recorded sentence after the other, each when the agent has finished.

const QUIET_S = 1.2;
const PATIENCE_S = 10;
const AUDIBLE = 0.004;

export class SampleCaller {
  #left;
  #since = null; // when it began to wait
  #heardAt = null; // when the agent was last heard since

  constructor(sentences, speak) {
    this.#left = [...sentences];
    this.speak = speak;
  }

  // What is played of the agent's: several times a second.
  hears(level, at) {
    this.#since ??= at;
    if (level >= AUDIBLE) {
      this.#heardAt = at;
    }
    const hasFinished = this.#heardAt !== null && at - this.#heardAt > QUIET_S;
    const isSilent = this.#heardAt === null && at - this.#since > PATIENCE_S;
    if (this.#left.length && (hasFinished || isSilent)) {
      this.#since = Infinity; // until it has spoken
      this.#heardAt = null;
      this.speak(this.#left.shift()).then(() => {
        this.#since = null;
        this.#heardAt = null;
      });
    }
  }
}
