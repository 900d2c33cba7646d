/** Writes a uvarint (7 bits a byte, lowest first, bit 7 set on all but the last); returns the offset after it. */
export function putUvarint(target: Uint8Array, offset: number, value: number): number {
  let rest = value;
  let at = offset;
  while (rest >= 0x80) {
    target[at++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  target[at++] = rest;
  return at;
}

/** Most bytes of a uvarint that fits a number. */
export const UVARINT_MAX = 8;

/** Reads one uvarint after another. `offset` is where the next begins; NaN is read from a cut or too large one. */
export class UvarintReader {
  bytes: Uint8Array = new Uint8Array(0);
  offset = 0;
  end = 0;

  next(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < UVARINT_MAX && this.offset < this.end; i++) {
      const byte = this.bytes[this.offset++]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return Number.isSafeInteger(value) ? value : Number.NaN;
      scale *= 0x80;
    }
    return Number.NaN;
  }
}
