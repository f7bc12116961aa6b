// G.711 mu-law, 8 kHz: one byte a sample, 160 bytes are 20 ms. Source: ITU-T G.711.

export const RATE = 8000;
export const FRAME = 160;
export const SILENCE = 0xff;

const BIAS = 0x84;
const CLIP = 32635;

const DECODED = Float32Array.from({ length: 256 }, (_, byte) => {
  const inverted = ~byte & 0xff;
  const magnitude = (((inverted & 0x0f) << 3) + BIAS) << ((inverted & 0x70) >> 4);
  return (inverted & 0x80 ? BIAS - magnitude : magnitude - BIAS) / 32768;
});

function encodeOne(sample) {
  const whole = Math.round(Math.max(-1, Math.min(1, sample)) * 32767);
  const sign = whole < 0 ? 0x80 : 0;
  const magnitude = Math.min(Math.abs(whole), CLIP) + BIAS;
  const exponent = 31 - Math.clz32(magnitude) - 7;
  const mantissa = (magnitude >> (exponent + 3)) & 0x0f;
  return ~(sign | (exponent << 4) | mantissa) & 0xff;
}

// Samples between -1 and 1, as bytes; and back.
export function encode(samples) {
  return Uint8Array.from(samples, encodeOne);
}

export function decode(bytes) {
  return Float32Array.from(bytes, (byte) => DECODED[byte]);
}

// How loud a slice is: its root mean square, 0 to 1.
export function loudness(samples) {
  let sum = 0;
  for (const sample of samples) {
    sum += sample * sample;
  }
  return samples.length ? Math.sqrt(sum / samples.length) : 0;
}
