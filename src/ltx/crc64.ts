/** Sixteen values of four bits, two words each; sixteen times four bits. */
const ROW_SIZE = 32;
const TABLE_SIZE = 16 * ROW_SIZE;

/**
 * CRC-64 as Go's crc64.ISO: reflected polynomial 0xD800000000000000, initial and final XOR all ones; the check value
 * of "123456789" is b90956c775a41001. The state is two 32-bit halves, so that no BigInt is made. The polynomial's terms
 * stand next to each other at one end, so a step is a few shifts; with 4-byte loads that is faster than tables.
 */
export class Crc64 {
  /** By a number of bytes: what so many zeros make of each value of each four bits of a state, [high, low]. */
  private static readonly zeros = new Map<number, Int32Array>();

  private stateHigh = -1;
  private stateLow = -1;

  reset(): void {
    this.stateHigh = -1;
    this.stateLow = -1;
  }

  /** Upper 32 bits of the checksum of what was added so far, unsigned. */
  get high(): number {
    return ~this.stateHigh >>> 0;
  }

  /** Lower 32 bits, unsigned. */
  get low(): number {
    return ~this.stateLow >>> 0;
  }

  /** The checksum as LTX stores it: with bit 63 set. */
  get checksum(): bigint {
    return joinChecksum(this.high, this.low);
  }

  /** Adds the bytes from `start` to `end`. */
  update(bytes: Uint8Array, start = 0, end = bytes.length): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let high = this.stateHigh;
    let low = this.stateLow;
    let i = start;
    for (const last = end - 8; i <= last; i += 8) {
      const w = low ^ view.getInt32(i, true);
      const middle = high ^ (w << 31) ^ (w << 29) ^ (w << 28);
      const x = middle ^ view.getInt32(i + 4, true);
      low = w ^ (w >>> 1) ^ (w >>> 3) ^ (w >>> 4) ^ (x << 31) ^ (x << 29) ^ (x << 28);
      high = x ^ (x >>> 1) ^ (x >>> 3) ^ (x >>> 4);
    }
    for (; i < end; i++) {
      const b = (low ^ bytes[i]!) & 0xff;
      low = (low >>> 8) ^ (high << 24);
      high = (high >>> 8) ^ (b << 24) ^ (b << 23) ^ (b << 21) ^ (b << 20);
    }
    this.stateHigh = high;
    this.stateLow = low;
  }

  /**
   * Adds `size` bytes whose own checksum (`high`, `low`) is known, without looking at them: what comes before them is
   * shifted by so many zeros, which is linear, as in zlib's crc32_combine. For a few sizes: each keeps a table of 2 KB.
   */
  append(high: number, low: number, size: number): void {
    const table = Crc64.zeros.get(size) ?? Crc64.tableFor(size);
    let bits = ~this.stateLow;
    let shiftedHigh = 0;
    let shiftedLow = 0;
    for (let row = 0; row < TABLE_SIZE; row += ROW_SIZE) {
      if (row === TABLE_SIZE / 2) bits = ~this.stateHigh;
      const at = row + 2 * (bits & 0xf);
      shiftedHigh ^= table[at]!;
      shiftedLow ^= table[at + 1]!;
      bits >>>= 4;
    }
    this.stateHigh = ~(shiftedHigh ^ high);
    this.stateLow = ~(shiftedLow ^ low);
  }

  private static tableFor(size: number): Int32Array {
    const table = new Int32Array(TABLE_SIZE);
    const zeros = new Uint8Array(size);
    const crc = new Crc64();
    for (let at = 0; at < TABLE_SIZE; at += 2) {
      const row = Math.floor(at / ROW_SIZE);
      const bits = ((at % ROW_SIZE) / 2) << (4 * (row % 8));
      crc.stateHigh = row < 8 ? 0 : bits;
      crc.stateLow = row < 8 ? bits : 0;
      crc.update(zeros);
      table[at] = crc.stateHigh;
      table[at + 1] = crc.stateLow;
    }
    Crc64.zeros.set(size, table);
    return table;
  }

  /** Adds the four bytes of a number, most significant first. */
  updateU32(value: number): void {
    const swapped = (value << 24) | ((value << 8) & 0xff0000) | ((value >>> 8) & 0xff00) | (value >>> 24);
    const w = this.stateLow ^ swapped;
    this.stateLow = this.stateHigh ^ (w << 31) ^ (w << 29) ^ (w << 28);
    this.stateHigh = w ^ (w >>> 1) ^ (w >>> 3) ^ (w >>> 4);
  }
}

const halves = new DataView(new ArrayBuffer(8));

/** Two unsigned halves as one checksum, bit 63 set. */
export function joinChecksum(high: number, low: number): bigint {
  halves.setInt32(0, high | 0x80000000);
  halves.setInt32(4, low);
  return halves.getBigUint64(0);
}
