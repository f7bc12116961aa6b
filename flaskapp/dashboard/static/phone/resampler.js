// Brings sound from one rate to another, slice by slice, without a seam: a windowed sinc.
// Only for browsers whose audio does not run at 8 kHz.

const ZEROS = 12; // of the sinc, on either side

export class Resampler {
  constructor(from, to) {
    this.step = from / to;
    this.cutoff = Math.min(1, to / from) * 0.94;
    this.reach = Math.ceil(ZEROS / this.cutoff);
    this.kept = new Float32Array(this.reach); // what came before, as far as it is heard
    this.at = this.reach; // where the next sample lies in what is kept and what comes
  }

  // What follows from these samples; the last few wait for what comes next.
  push(samples) {
    if (this.step === 1) {
      return Float32Array.from(samples);
    }
    const all = new Float32Array(this.kept.length + samples.length);
    all.set(this.kept);
    all.set(samples, this.kept.length);
    const made = [];
    for (; this.at + this.reach < all.length; this.at += this.step) {
      made.push(this.#sampleAt(all, this.at));
    }
    const from = Math.max(Math.floor(this.at) - this.reach, 0);
    this.kept = all.slice(from);
    this.at -= from;
    return Float32Array.from(made);
  }

  #sampleAt(all, at) {
    const first = Math.max(Math.ceil(at - this.reach), 0);
    const last = Math.min(Math.floor(at + this.reach), all.length - 1);
    let sum = 0;
    for (let each = first; each <= last; each++) {
      const away = each - at;
      const window = 0.5 + 0.5 * Math.cos((Math.PI * away) / (this.reach + 1));
      sum += all[each] * window * this.cutoff * sinc(this.cutoff * away);
    }
    return sum;
  }
}

function sinc(x) {
  return Math.abs(x) < 1e-9 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}
