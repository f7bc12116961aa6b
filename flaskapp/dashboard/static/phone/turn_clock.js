// How long the caller waits for an answer: from his last sound to the answer's first, both as they were heard here.

const LEAST_VOICE = 0.012; // root mean square: quieter is no voice on any line
const ABOVE_NOISE = 3; // times the room's own noise
const SPOKEN_S = 0.1; // less is a click
const AUDIBLE = 0.004;
const PAUSE_S = 0.3; // of the agent's: what follows is another reply
const TALKED_OVER_S = 0.25;
const ECHO_S = 0.06;
const SPEAKS_ON_S = 0.1;
const LONGEST_S = 60;

export class TurnClock {
  #noise = 0.002;
  #spoken = 0;
  #wrote = false;
  #lastVoice = -Infinity;
  #agentFrom = -Infinity;
  #agentUntil = -Infinity;
  #deafUntil = -Infinity;

  // A frame of the caller's, by its end, in seconds. Whether it is voice.
  caller(level, at, seconds = 0.02) {
    this.#noise = level < this.#noise ? level * 0.3 + this.#noise * 0.7 : Math.min(this.#noise * 1.004, 0.05);
    const isVoice = level > Math.max(LEAST_VOICE, this.#noise * ABOVE_NOISE);
    if (isVoice) {
      this.#spoken += seconds;
      this.#lastVoice = at;
    }
    return isVoice;
  }

  // The caller has typed, or pressed a key: nothing more is to come.
  wrote(at) {
    this.#spoken = SPOKEN_S;
    this.#lastVoice = at;
    this.#wrote = true;
  }

  // What the agent was saying is not played any more; a moment of it may still be reported.
  cleared(at) {
    this.#agentUntil = -Infinity;
    this.#deafUntil = at + ECHO_S;
  }

  // What is played of the agent's. The wait in seconds if an answer begins with this; else null.
  agent(level, at) {
    if (level < AUDIBLE || at < this.#deafUntil) {
      return null;
    }
    const begins = at - this.#agentUntil > PAUSE_S;
    this.#agentUntil = at;
    if (begins) {
      this.#agentFrom = at;
      return this.#answered(at);
    }
    if (this.#agentFrom < this.#lastVoice && at - this.#lastVoice > TALKED_OVER_S) {
      this.#spoken = 0; // the agent has just gone on: that was no question
    }
    return null;
  }

  #answered(at) {
    const wait = at - this.#lastVoice;
    if (wait < SPEAKS_ON_S && !this.#wrote) {
      return null; // they speak at the same time: who has not finished asks on
    }
    const wasAsked = this.#spoken >= SPOKEN_S && wait < LONGEST_S;
    this.#spoken = 0;
    this.#wrote = false;
    return wasAsked ? wait : null;
  }
}
