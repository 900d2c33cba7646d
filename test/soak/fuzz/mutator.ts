import type { Random } from './random.js';

/** Numbers at which length arithmetic goes wrong, as 32 and 64 bits hold them. */
const EDGES_32 = [
  0, 1, 2, 3, 4, 7, 8, 15, 16, 27, 28, 31, 32, 63, 64, 100, 127, 128, 255, 256, 511, 512, 513, 1000, 1024, 4095, 4096,
  32767, 32768, 65535, 65536, 65537, 0xff_ffff, 0x3fff_ffff, 0x4000_0000, 0x4000_0001, 0x7fff_ffff, 0x8000_0000,
  0xffff_fffe, 0xffff_ffff,
];
const EDGES_64 = [
  ...EDGES_32.map(BigInt),
  0x1_0000_0000n,
  (1n << 53n) - 1n,
  1n << 53n,
  (1n << 53n) + 1n,
  (1n << 63n) - 1n,
  1n << 63n,
  (1n << 64n) - 2n,
  (1n << 64n) - 1n,
];
/** Changes made to one input at most, as a power of two. */
const MAX_CHANGES_LOG = 5;

/** Changes inputs at random: bits, bytes, numbers, pieces; with pieces of other inputs and words of the format. */
export class Mutator {
  constructor(
    private readonly random: Random,
    private readonly dictionary: readonly Uint8Array[],
    private readonly maxBytes: number,
  ) {}

  /** `other` gives another input to take pieces from. */
  mutate(input: Uint8Array, other: () => Uint8Array): Buffer {
    const { random } = this;
    let bytes: Buffer = Buffer.from(input);
    for (let left = 1 << random.below(MAX_CHANGES_LOG); left > 0; left--) bytes = this.change(bytes, other);
    return bytes.length > this.maxBytes ? bytes.subarray(0, this.maxBytes) : bytes;
  }

  private change(bytes: Buffer, other: () => Uint8Array): Buffer {
    const { random } = this;
    const at = random.below(bytes.length + 1);
    const kind = random.below(16);
    if (kind < 10 && bytes.length === 0) return random.bytes(1 + random.small(64));
    switch (kind) {
      case 0:
      case 1:
        bytes[at % bytes.length]! ^= 1 << random.below(8);
        return bytes;
      case 2:
        bytes[at % bytes.length] = random.bits(8);
        return bytes;
      case 3:
        bytes[at % bytes.length]! += random.below(2) === 0 ? 1 + random.below(16) : -1 - random.below(16);
        return bytes;
      case 4:
      case 5:
        this.putNumber(bytes, at);
        return bytes;
      case 6:
        return Buffer.from(bytes.subarray(0, at));
      case 7:
        return this.replace(bytes, at, 1 + random.small(bytes.length), Buffer.alloc(0));
      case 8:
        bytes.fill(random.pick([0, 0xff, random.bits(8)]), at, Math.min(bytes.length, at + 1 + random.small(64)));
        return bytes;
      case 9: {
        // A piece again, elsewhere: over what is there, or in between.
        const piece = Buffer.from(bytes.subarray(at, at + 1 + random.small(256)));
        const to = random.below(bytes.length + 1);
        return this.replace(bytes, to, random.chance(0.5) ? piece.length : 0, piece);
      }
      case 10:
        return this.replace(bytes, at, 0, random.bytes(1 + random.small(16)));
      case 11:
      case 12: {
        if (this.dictionary.length === 0) return this.replace(bytes, at, 4, random.bytes(4));
        const word = random.pick(this.dictionary);
        return this.replace(bytes, at, random.chance(0.6) ? word.length : 0, word);
      }
      case 13: {
        const from = other();
        const start = random.below(from.length + 1);
        const piece = from.subarray(start, start + 1 + random.small(from.length + 1));
        return this.replace(bytes, at, random.chance(0.5) ? piece.length : 0, piece);
      }
      case 14: {
        const from = other();
        return Buffer.concat([bytes.subarray(0, at), from.subarray(random.below(from.length + 1))]);
      }
      default: {
        const piece = bytes.subarray(at, at + 1 + random.small(32));
        const times = 1 + random.small(random.chance(0.05) ? 4096 : 8);
        return this.replace(bytes, at, 0, Buffer.concat(new Array<Buffer>(times).fill(piece)));
      }
    }
  }

  private replace(bytes: Buffer, at: number, length: number, piece: Uint8Array): Buffer {
    if (bytes.length + piece.length > 2 * this.maxBytes) return bytes;
    return Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at + length)]);
  }

  /** A number of 8 to 64 bits in either byte order: an edge, the input's own length, or the one that was there, changed. */
  private putNumber(bytes: Buffer, anywhere: number): void {
    const { random } = this;
    const size = random.pick([1, 2, 4, 4, 8]);
    if (size > bytes.length) return;
    const room = bytes.length - size;
    const at = random.chance(0.5) ? Math.min(anywhere, room) & ~(size - 1) : Math.min(anywhere, room);
    const big = random.chance(0.5);
    if (size === 8) {
      const value = random.chance(0.2) ? BigInt(bytes.length - random.small(64)) : random.pick(EDGES_64);
      if (big) bytes.writeBigUInt64BE(BigInt.asUintN(64, value), at);
      else bytes.writeBigUInt64LE(BigInt.asUintN(64, value), at);
      return;
    }
    const before = big ? bytes.readUIntBE(at, size) : bytes.readUIntLE(at, size);
    const value = random.chance(0.2)
      ? bytes.length - random.small(64)
      : random.chance(0.3)
        ? before + random.below(9) - 4
        : random.pick(EDGES_32);
    const fitting = ((value % 2 ** (8 * size)) + 2 ** (8 * size)) % 2 ** (8 * size);
    if (big) bytes.writeUIntBE(fitting, at, size);
    else bytes.writeUIntLE(fitting, at, size);
  }
}
