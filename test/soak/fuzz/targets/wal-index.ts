import { SluiceError } from '../../../../src/errors.js';
import {
  encodeWalIndexHeader,
  parseWalIndexHeader,
  WAL_INDEX_BLOCK_SIZE,
  WalIndexBlock,
  walIndexBlockOf,
} from '../../../../src/sqlite/index.js';
import { attempt, mustHold, type Target, type TargetOpener } from '../target.js';
import { walIndexPrefix } from './samples.js';

/** The header of a wal-index. */
export const walIndexHeader: TargetOpener = {
  open: (): Target => ({
    seeds: [walIndexPrefix(3), walIndexPrefix(0xffff_ffff), Buffer.alloc(136)],
    maxBytes: 200,
    repair(input) {
      if (input.length < 96) return input;
      const sum = [0, 0];
      input.writeUInt32LE(3007000, 0);
      for (let i = 0; i < 40; i += 8) {
        sum[0] = (sum[0]! + input.readUInt32LE(i) + sum[1]!) >>> 0;
        sum[1] = (sum[1]! + input.readUInt32LE(i + 4) + sum[0]) >>> 0;
      }
      input.writeUInt32LE(sum[0]!, 40);
      input.writeUInt32LE(sum[1]!, 44);
      input.copy(input, 48, 0, 48);
      return input;
    },
    run(input) {
      // It is read from a file of which what is missing is zeros.
      const bytes = Buffer.alloc(136);
      input.copy(bytes);
      const header = parseWalIndexHeader(bytes);
      if (header === undefined) return;
      encodeWalIndexHeader(header, bytes);
      bytes.copy(bytes, 48, 0, 48);
      const again = parseWalIndexHeader(bytes);
      mustHold(JSON.stringify(again) === JSON.stringify(header), 'a header that is encoded and decoded is another');
    },
  }),
};

const WRITES_MAX = 64;

/** A block of a wal-index that anyone with the database open may have written: adding frames to it and finding pages. */
export const walIndexBlock: TargetOpener = {
  open: (): Target => {
    const block = new WalIndexBlock();
    const instructions = (...numbers: number[]): Buffer => {
      const bytes = Buffer.alloc(12 + WAL_INDEX_BLOCK_SIZE);
      for (const [i, number] of numbers.entries()) bytes.writeUInt32LE(number, 4 * i);
      return bytes;
    };
    return {
      seeds: [
        instructions(1, 5, 10),
        instructions(100, 1, 64),
        Buffer.concat([instructions(4062, 1, 3).subarray(0, 12), Buffer.alloc(WAL_INDEX_BLOCK_SIZE, 1)]),
        instructions(5000, 7, 20),
      ],
      maxBytes: 12 + WAL_INDEX_BLOCK_SIZE,
      run(input) {
        if (input.length < 12) return;
        const frame = 1 + (input.readUInt32LE(0) % 0xffff_ffff);
        const pgno = input.readUInt32LE(4);
        block.bytes.fill(0);
        input.copy(block.bytes, 0, 12);
        block.load(walIndexBlockOf(frame), frame);
        const last = Math.min(block.lastFrame, frame + (input.readUInt32LE(8) % WRITES_MAX));
        attempt(
          (error) => error instanceof SluiceError,
          () => {
            for (let i = frame; i <= last; i++) block.add((pgno + i) >>> 0);
            block.changes((start, end) =>
              mustHold(start >= 0 && start <= end && end <= WAL_INDEX_BLOCK_SIZE, 'a range outside of the block'),
            );
            mustHold(block.find((pgno + last) >>> 0, last) === last, 'what was added is not found');
          },
        );
        block.find(pgno, 0xffff_ffff);
      },
    };
  },
};
