import { PIECE_BYTES } from './limits.js';

/** Pieces kept for next time; each transaction takes two at most, and large ones of several databases may overlap. */
const MAX_SPARE = 4;
const spare: Buffer[] = [];

/** `PIECE_BYTES` of memory with anything in it. Give it back with `givePiece`. */
export function takePiece(): Buffer {
  return spare.pop() ?? Buffer.allocUnsafeSlow(PIECE_BYTES);
}

/** The piece is not used any more. */
export function givePiece(piece: Buffer): void {
  if (spare.length < MAX_SPARE) spare.push(piece);
}
