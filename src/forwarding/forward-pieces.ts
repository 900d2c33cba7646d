import { readSync } from 'node:fs';
import type { LtxLocation } from '../apply/index.js';
import { closeSync, openSync } from '../disk/index.js';
import type { WriteMessage } from '../replication/index.js';
import { FORWARD_PIECE_BYTES } from './limits.js';

/** Sends a transaction's LTX file in pieces. */
export function sendForward(
  name: string,
  serial: number,
  location: LtxLocation,
  send: (message: WriteMessage) => void,
): void {
  const fd = location.kind === 'file' ? openSync(location.path, 'r') : -1;
  try {
    const size = location.kind === 'file' ? location.size : location.bytes.length;
    for (let at = 0; at < size; ) {
      const length = Math.min(FORWARD_PIECE_BYTES, size - at);
      const bytes =
        location.kind === 'file'
          ? readPiece(fd, location.offset + at, length)
          : location.bytes.subarray(at, at + length);
      at += length;
      send({ type: at < size ? 'forward-chunk' : 'forward', name, serial, bytes });
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
