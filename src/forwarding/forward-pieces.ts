import { readSync } from 'node:fs';
import type { LtxLocation } from '../apply/index.js';
import { closeSync, openSync } from '../disk/index.js';
import type { WriteSender } from '../replication/index.js';
import { FORWARD_PAUSE_MS, FORWARD_PIECE_BYTES, FORWARD_QUEUE_BYTES } from './limits.js';

/**
 * Sends a transaction's LTX file in pieces, so that few wait in memory for the line. Ends early when `isWanted` says no: its
 * connection is gone, or nobody waits for it any more. Rejects if the file cannot be read.
 */
export async function sendForward(
  name: string,
  serial: number,
  location: LtxLocation,
  sender: WriteSender,
  isWanted: () => boolean,
): Promise<void> {
  const fd = location.kind === 'file' ? openSync(location.path, 'r') : -1;
  try {
    const size = location.kind === 'file' ? location.size : location.bytes.length;
    for (let at = 0; at < size; ) {
      while (sender.queuedBytes() > FORWARD_QUEUE_BYTES && isWanted())
        await new Promise((resolve) => setTimeout(resolve, FORWARD_PAUSE_MS));
      if (!isWanted()) return;
      const length = Math.min(FORWARD_PIECE_BYTES, size - at);
      const bytes =
        location.kind === 'file'
          ? readPiece(fd, location.offset + at, length)
          : location.bytes.subarray(at, at + length);
      at += length;
      sender.send({ type: at < size ? 'forward-chunk' : 'forward', name, serial, bytes });
    }
  } finally {
    if (fd >= 0) closeSync(fd);
  }
}

function readPiece(fd: number, position: number, length: number): Uint8Array {
  const bytes = Buffer.allocUnsafe(length);
  const read = readSync(fd, bytes, 0, length, position);
  if (read !== length) throw new Error('the file of a forwarded transaction is cut');
  return bytes;
}
