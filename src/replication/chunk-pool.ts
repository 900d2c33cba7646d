import { CHUNK_BYTES, MAX_NAME_BYTES } from './limits.js';

/** A chunk's message: a few bytes, its database's name, its bytes. */
const ENVELOPE_BYTES = CHUNK_BYTES + MAX_NAME_BYTES + 64;
/** What is kept for later. */
const MAX_SPARE = 16;

const spare: Buffer[] = [];

/**
 * Room for one `large-chunk` message. Whoever sends it gives it back when the socket has taken it: a large transaction would
 * leave its size in buffers to the garbage collector, which takes its time.
 */
export function takeEnvelope(sizeBytes: number): Buffer {
  if (sizeBytes > ENVELOPE_BYTES) return Buffer.allocUnsafeSlow(sizeBytes);
  return (spare.pop() ?? Buffer.allocUnsafeSlow(ENVELOPE_BYTES)).subarray(0, sizeBytes);
}

/** Nobody reads it any more. */
export function giveEnvelope({ buffer }: Buffer): void {
  if (buffer.byteLength === ENVELOPE_BYTES && spare.length < MAX_SPARE) spare.push(Buffer.from(buffer));
}
