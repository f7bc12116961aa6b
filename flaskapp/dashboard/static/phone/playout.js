// What the agent says, in the order in which it came: played at its pace, with marks between, cleared at once.
// A mark is reached when all before it was played, or when it was cleared: as a telephone network does it.

export class Playout {
  #queue = []; // {samples, at} and {mark}

  push(samples) {
    if (samples.length) {
      this.#queue.push({ samples, at: 0 });
    }
  }

  mark(name) {
    this.#queue.push({ mark: name });
  }

  // Nothing of what waits is played; the marks that waited with it.
  clear() {
    const marks = this.#queue.filter((each) => "mark" in each).map((each) => each.mark);
    this.#queue = [];
    return marks;
  }

  get isEmpty() {
    return this.#queue.length === 0;
  }

  // Fill a slice; where there is nothing to play it is silent. The marks that were reached.
  fill(slice) {
    const reached = [];
    let filled = 0;
    slice.fill(0);
    while (this.#queue.length) {
      const first = this.#queue[0];
      if ("mark" in first) {
        reached.push(first.mark);
        this.#queue.shift();
        continue;
      }
      if (filled === slice.length) {
        break;
      }
      const part = first.samples.subarray(first.at, first.at + slice.length - filled);
      slice.set(part, filled);
      filled += part.length;
      first.at += part.length;
      if (first.at === first.samples.length) {
        this.#queue.shift();
      }
    }
    return reached;
  }
}

// Samples come as they like, frames go: so many samples each.
export class Framer {
  #kept = [];

  constructor(size) {
    this.size = size;
  }

  // The whole frames that there are by now.
  push(samples) {
    this.#kept.push(...samples);
    const frames = [];
    while (this.#kept.length >= this.size) {
      frames.push(Float32Array.from(this.#kept.splice(0, this.size)));
    }
    return frames;
  }
}
