// This machine's sound: the microphone or a recording in, the agent's voice out, both by the worklet.

import { RATE, decode } from "./mulaw.js";

const KEY_TONES = { rows: [697, 770, 852, 941], columns: [1209, 1336, 1477], keys: "123456789*0#" };
const VOICE = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };

// Why there is no sound here, in words; empty if there may be.
export function whyNot() {
  if (!window.isSecureContext) {
    const port = location.port || "80";
    const own = port < 1024 ? 8080 : port; // those below are not for everybody to open
    return (
      "This page came over plain http from another machine. Browsers give such pages neither microphone nor sound:" +
      " no call works here, be it by voice, by the sample caller or by typing. Put https in front of the server" +
      " (docs/deploying.md, “nginx in front”), or make it your own machine's:" +
      ` ssh -L ${own}:127.0.0.1:${port} ${location.hostname}, then open http://localhost:${own}${location.pathname}`
    );
  }
  if (!window.AudioWorkletNode) {
    return "This browser cannot make calls: it has no AudioWorklet. A current one has.";
  }
  return "";
}

const MICROPHONE = {
  NotAllowedError:
    "The browser may not use the microphone. Allow it in the address bar's settings for this page, or use the sample caller, or type.",
  NotFoundError: "No microphone was found. Plug one in, or use the sample caller, or type.",
  NotReadableError: "The microphone is in use by another program, or does not work. Close that one, or choose another.",
  OverconstrainedError: "The microphone that was chosen is gone. Choose another.",
};

export function inWords(error) {
  return MICROPHONE[error?.name] ?? `The microphone cannot be used (${error?.name ?? "unknown error"}).`;
}

export class Desk {
  #stream = null;
  #source = null;

  // `heard` is given {frame, level, at}, `played` {level, at}, `reached` a mark's name.
  static async open(worklet, heard, played, reached) {
    const desk = new Desk();
    desk.context = await makeContext();
    await desk.context.audioWorklet.addModule(worklet);
    const shape = { numberOfInputs: 1, numberOfOutputs: 1, outputChannelCount: [1], channelCount: 1, channelCountMode: "explicit" };
    desk.microphone = new AudioWorkletNode(desk.context, "microphone", shape);
    desk.speaker = new AudioWorkletNode(desk.context, "speaker", { ...shape, numberOfInputs: 0 });
    desk.microphone.port.onmessage = ({ data }) => heard(data);
    desk.speaker.port.onmessage = ({ data }) => ("reached" in data ? reached(data.reached) : played(data));
    desk.microphone.connect(desk.context.destination); // it gives silence: only what is connected runs
    desk.speaker.connect(desk.context.destination);
    await desk.context.resume();
    return desk;
  }

  // Listen to a microphone; an empty id is the system's. The error says why not.
  async listen(deviceId = "") {
    const wanted = deviceId ? { ...VOICE, deviceId: { exact: deviceId } } : VOICE;
    const stream = await navigator.mediaDevices.getUserMedia({ audio: wanted });
    this.#hush();
    this.#stream = stream;
    this.#source = this.context.createMediaStreamSource(stream);
    this.#source.connect(this.microphone);
  }

  // Have a recording spoken into the line; resolves when it is over.
  async speak(url) {
    const samples = samplesOf(await (await fetch(url)).arrayBuffer());
    const buffer = this.context.createBuffer(1, samples.length, RATE);
    buffer.copyToChannel(samples, 0);
    const source = this.context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.microphone);
    source.start();
    await new Promise((done) => source.addEventListener("ended", done, { once: true }));
  }

  play(audio) {
    this.speaker.port.postMessage({ audio }, [audio.buffer]);
  }

  mark(name) {
    this.speaker.port.postMessage({ mark: name });
  }

  clear() {
    this.speaker.port.postMessage({ clear: true });
  }

  mute(muted) {
    this.microphone.port.postMessage({ muted });
  }

  // What a key sounds like, for who pressed it.
  beep(key) {
    const at = KEY_TONES.keys.indexOf(key);
    const gain = new GainNode(this.context, { gain: 0.06 });
    gain.connect(this.context.destination);
    for (const frequency of [KEY_TONES.rows[Math.floor(at / 3)], KEY_TONES.columns[at % 3]]) {
      const tone = new OscillatorNode(this.context, { frequency });
      tone.connect(gain);
      tone.start();
      tone.stop(this.context.currentTime + 0.12);
    }
  }

  async useSpeaker(deviceId) {
    await this.context.setSinkId?.(deviceId);
  }

  // Seconds from the speaker's buffer to the ear, as far as the browser knows.
  get delay() {
    return this.context.outputLatency || this.context.baseLatency || 0;
  }

  close() {
    this.#hush();
    this.context.close();
  }

  #hush() {
    this.#source?.disconnect();
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#source = this.#stream = null;
  }
}

// At the telephone's own rate; where the browser cannot mix rates, at its own: the worklet resamples.
async function makeContext() {
  const options = { latencyHint: "interactive" };
  try {
    const context = new AudioContext({ ...options, sampleRate: RATE });
    if (!navigator.userAgent.includes("Firefox/")) {
      return context;
    }
    await context.close();
  } catch {
    // a rate that it does not have
  }
  return new AudioContext(options);
}

// Of a RIFF/WAVE file with mu-law at 8 kHz: the bundled voices are such.
function samplesOf(file) {
  const view = new DataView(file);
  let at = 12;
  while (at + 8 <= view.byteLength) {
    const name = String.fromCharCode(...new Uint8Array(file, at, 4));
    const size = view.getUint32(at + 4, true);
    if (name === "data") {
      return decode(new Uint8Array(file, at + 8, Math.min(size, view.byteLength - at - 8)));
    }
    at += 8 + size + (size & 1);
  }
  throw new Error("no sound in this file");
}

// {microphones, speakers}: [{id, name}]; without names until a microphone may be used.
export async function devices() {
  const all = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
  const of = (kind) =>
    all
      .filter((each) => each.kind === kind && each.deviceId && each.deviceId !== "default")
      .map((each, number) => ({ id: each.deviceId, name: each.label || `Device ${number + 1}` }));
  return { microphones: of("audioinput"), speakers: of("audiooutput") };
}
