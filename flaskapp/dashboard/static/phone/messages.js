// The messages of a media stream, as Twilio's carriers send them ("Media Streams - WebSocket messages");
// `text` is ours: what the caller typed.

const FORMAT = { encoding: "audio/x-mulaw", sampleRate: 8000, channels: 1 };
const MS_A_BYTE = 1 / 8;

export class Messages {
  #sequence = 0;
  #chunk = 0;
  #ms = 0;

  constructor(callSid, streamSid) {
    this.callSid = callSid;
    this.streamSid = streamSid;
  }

  connected() {
    return JSON.stringify({ event: "connected", protocol: "Call", version: "1.0.0" });
  }

  start() {
    const { callSid, streamSid } = this;
    const start = { accountSid: "", streamSid, callSid, tracks: ["inbound"], mediaFormat: FORMAT, customParameters: {} };
    return this.#numbered("start", { start });
  }

  media(frame) {
    this.#chunk += 1;
    const timestamp = String(Math.round(this.#ms));
    this.#ms += frame.length * MS_A_BYTE;
    return this.#numbered("media", {
      media: { track: "inbound", chunk: String(this.#chunk), timestamp, payload: toBase64(frame) },
    });
  }

  mark(name) {
    return this.#numbered("mark", { mark: { name } });
  }

  dtmf(digit) {
    return this.#numbered("dtmf", { dtmf: { track: "inbound_track", digit } });
  }

  text(body) {
    return this.#numbered("text", { text: { body } });
  }

  stop() {
    return this.#numbered("stop", { stop: { accountSid: "", callSid: this.callSid } });
  }

  #numbered(event, rest) {
    this.#sequence += 1;
    return JSON.stringify({ event, sequenceNumber: String(this.#sequence), streamSid: this.streamSid, ...rest });
  }
}

// {audio}, {mark} or {clear}; null for whatever else comes.
export function read(text) {
  let told;
  try {
    told = JSON.parse(text);
  } catch {
    return null;
  }
  if (told?.event === "media" && typeof told.media?.payload === "string") {
    return { audio: fromBase64(told.media.payload) };
  }
  if (told?.event === "mark" && typeof told.mark?.name === "string") {
    return { mark: told.mark.name };
  }
  return told?.event === "clear" ? { clear: true } : null;
}

export function toBase64(bytes) {
  return btoa(String.fromCharCode(...bytes));
}

export function fromBase64(text) {
  return Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
}
