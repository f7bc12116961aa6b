// The audio thread: a microphone that gives mu-law frames, and a speaker that plays what it is given.

import { FRAME, RATE, decode, encode, loudness } from "./mulaw.js";
import { Framer, Playout } from "./playout.js";
import { Resampler } from "./resampler.js";

const LEVEL_EVERY = 160; // samples at 8 kHz

// Every 20 ms: {frame, level, at}. Without input, or muted, it gives silence: a telephone does so, too.
class Microphone extends AudioWorkletProcessor {
  #framer = new Framer(FRAME);
  #resampler = new Resampler(sampleRate, RATE);
  #isMuted = false;

  constructor() {
    super();
    this.port.onmessage = ({ data }) => {
      this.#isMuted = data.muted;
    };
  }

  process([input]) {
    const heard = (!this.#isMuted && input[0]) || new Float32Array(128);
    for (const samples of this.#framer.push(this.#resampler.push(heard))) {
      const frame = encode(samples);
      this.port.postMessage({ frame, level: loudness(samples), at: currentTime }, [frame.buffer]);
    }
    return true;
  }
}

// Takes {audio}, {mark} and {clear}; tells {reached}, and every 20 ms {level, at}.
class Speaker extends AudioWorkletProcessor {
  #playout = new Playout();
  #resampler = new Resampler(RATE, sampleRate);
  #waiting = new Float32Array(0); // resampled already
  #sum = 0;
  #counted = 0;

  constructor() {
    super();
    this.port.onmessage = ({ data }) => {
      if (data.audio) {
        this.#playout.push(decode(data.audio));
      } else if (data.mark !== undefined) {
        this.#playout.mark(data.mark);
      } else if (data.clear) {
        this.#waiting = new Float32Array(0);
        this.#tell(this.#playout.clear());
      }
    };
  }

  process(_inputs, [output]) {
    const target = output[0];
    if (sampleRate === RATE) {
      this.#tell(this.#playout.fill(target));
    } else {
      this.#fillResampled(target);
    }
    for (const channel of output.slice(1)) {
      channel.set(target);
    }
    this.#measure(target);
    return true;
  }

  #fillResampled(target) {
    const slice = new Float32Array(64);
    while (this.#waiting.length < target.length) {
      this.#tell(this.#playout.fill(slice));
      const more = this.#resampler.push(slice);
      const joined = new Float32Array(this.#waiting.length + more.length);
      joined.set(this.#waiting);
      joined.set(more, this.#waiting.length);
      this.#waiting = joined;
    }
    target.set(this.#waiting.subarray(0, target.length));
    this.#waiting = this.#waiting.slice(target.length);
  }

  #measure(played) {
    this.#sum += loudness(played) ** 2 * played.length;
    this.#counted += played.length;
    if (this.#counted * RATE >= LEVEL_EVERY * sampleRate) {
      this.port.postMessage({ level: Math.sqrt(this.#sum / this.#counted), at: currentTime });
      this.#sum = 0;
      this.#counted = 0;
    }
  }

  #tell(reached) {
    for (const name of reached) {
      this.port.postMessage({ reached: name });
    }
  }
}

registerProcessor("microphone", Microphone);
registerProcessor("speaker", Speaker);
