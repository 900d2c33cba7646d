import lz4 from 'lz4-napi';

const SIZE_PREFIX = 4; // lz4-napi puts the inflated size before the block, little-endian, and wants it there

/** Most bytes that a block of `size` bytes can take, also when it does not compress. */
export function blockBound(size: number): number {
  return size + Math.ceil(size / 255) + 16;
}

/** Compresses `size` bytes at `start` to an LZ4 block at `targetOffset`; returns its length, at most `blockBound(size)`. */
export function compressBlock(
  data: Uint8Array,
  start: number,
  size: number,
  target: Uint8Array,
  targetOffset: number,
): number {
  const block = lz4.compressSync(Buffer.from(data.buffer, data.byteOffset + start, size));
  target.set(block.subarray(SIZE_PREFIX), targetOffset);
  return block.length - SIZE_PREFIX;
}

/** Inflates a block to the start of `target`; throws if it is not one that makes exactly `size` bytes. */
export function inflateBlock(bytes: Uint8Array, start: number, end: number, target: Uint8Array, size: number): void {
  const block = Buffer.allocUnsafe(SIZE_PREFIX + end - start);
  block.writeUInt32LE(size, 0);
  block.set(bytes.subarray(start, end), SIZE_PREFIX);
  take(lz4.uncompressSync(block), target, size);
}

/** The same for a whole LZ4 frame. Its blocks must have been measured: memory goes up to 255 times its length. */
export function inflateFrame(bytes: Uint8Array, start: number, end: number, target: Uint8Array, size: number): void {
  take(lz4.decompressFrameSync(Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start)), target, size);
}

function take(inflated: Uint8Array, target: Uint8Array, size: number): void {
  if (inflated.length !== size) throw new RangeError(`inflates to ${inflated.length} bytes`);
  target.set(inflated);
}
