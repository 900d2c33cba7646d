import lz4 from 'lz4-napi';
import { LtxError } from '../../../../src/ltx/index.js';
import { BlockCompressor, blockBound, inflateBlock } from '../../../../src/ltx/lz4.js';
import { FRAME_HEADER_SIZE, frameBound, frameSize, inflatePage } from '../../../../src/ltx/page-frame.js';
import { makePage } from '../../../ltx/support.js';
import { attempt, mustHold, type Target, type TargetOpener } from '../target.js';

const PAGE_SIZES = [512, 4096, 65536];
const compressors = [new BlockCompressor('thorough'), new BlockCompressor('fast')];

/** LZ4 blocks, by a decoder of a page after the format's description; and every input as what is to be compressed. */
export const lz4Blocks: TargetOpener = {
  open: (): Target => ({
    seeds: [512, 512, 512, 512, 4096, 65536].map((size, i) => compressed(compressors[0]!, makePage(size, i))),
    dictionary: ['ff', 'ffff', 'f0ff', '0f0100ff', '0000', '1f00'].map((hex) => Buffer.from(hex, 'hex')),
    maxBytes: 66 << 10,
    run(input) {
      {
        const size = PAGE_SIZES[input.length % PAGE_SIZES.length]!;
        const target = Buffer.alloc(size + 8, 0xee);
        const found = attempt(isError, () => inflateBlock(input, 0, input.length, target, size));
        mustHold(target.readBigUInt64LE(size) === 0xeeee_eeee_eeee_eeeen, 'bytes were written behind the page');
        const wanted = inflateReference(input, size);
        if ('value' in found)
          mustHold(wanted?.equals(target.subarray(0, size)) === true, 'another page than by the format');
      }
      if (input.length === 0 || input.length > 65536) return;
      for (const compressor of compressors) {
        const block = compressed(compressor, input);
        mustHold(inflateReference(block, input.length)?.equals(input) === true, 'not the same after compressing');
      }
    },
  }),
};

/** LZ4 frames of older LTX files, measured before they are inflated. */
export const lz4Frames: TargetOpener = {
  open: (): Target => ({
    seeds: PAGE_SIZES.flatMap((size) =>
      [1, 2, 3].map((pgno) => lz4.compressFrameSync(Buffer.from(makePage(size, pgno)))),
    ),
    dictionary: ['04224d18', '60', '64', '6c', '7c', '40', '50', '70', '00000080', '00000000', 'ffffff7f'].map((hex) =>
      Buffer.from(hex, 'hex'),
    ),
    maxBytes: 70 << 10,
    run(input) {
      const frame = Buffer.concat([Buffer.from([0, 0, 0, 1, 0, 0]), input]);
      const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
      for (const pageSize of PAGE_SIZES) {
        const target = Buffer.alloc(pageSize + 8, 0xee);
        attempt(isLtxError, () => {
          let have = FRAME_HEADER_SIZE;
          for (let need = 0; need !== have; ) {
            need = have;
            have = Math.max(have, frameSize(view, 0, need, pageSize));
            mustHold(have <= frameBound(pageSize), 'a frame longer than its bound');
            if (have > frame.length) return;
          }
          inflatePage(frame, 0, have, 0, target, pageSize);
        });
        mustHold(target.readBigUInt64LE(pageSize) === 0xeeee_eeee_eeee_eeeen, 'bytes were written behind the page');
      }
    },
  }),
};

const isError = (error: unknown): boolean => error instanceof Error;
const isLtxError = (error: unknown): boolean => error instanceof LtxError;

function compressed(compressor: BlockCompressor, page: Uint8Array): Buffer {
  const target = Buffer.alloc(blockBound(page.length));
  return target.subarray(0, compressor.compress(page, 0, page.length, target, 0));
}

/** `size` bytes from a block, as lz4_Block_format.md has it; undefined if it makes another number, or is none. */
function inflateReference(block: Buffer, size: number): Buffer | undefined {
  const out = Buffer.alloc(size);
  let done = 0;
  let at = 0;
  const longer = (nibble: number): number => {
    let length = nibble;
    if (nibble !== 15) return length;
    for (let byte = 255; byte === 255; length += byte) byte = block[at++] ?? Number.NaN;
    return length;
  };
  for (;;) {
    const token = block[at++];
    if (token === undefined) return undefined;
    const literals = longer(token >> 4);
    if (!(at + literals <= block.length && done + literals <= size)) return undefined;
    block.copy(out, done, at, at + literals);
    done += literals;
    at += literals;
    if (at === block.length) return done === size ? out : undefined;
    if (at + 2 > block.length) return undefined;
    const offset = block.readUInt16LE(at);
    at += 2;
    const length = longer(token & 15) + 4;
    if (!(offset > 0 && offset <= done && done + length <= size)) return undefined;
    for (let i = 0; i < length; i++) out[done + i] = out[done + i - offset]!;
    done += length;
  }
}
