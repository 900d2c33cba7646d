import { closeSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LogSegment, RECORD_HEADER_SIZE } from '../../../../src/database/log-segment.js';
import { INITIAL_STATE, StateFile } from '../../../../src/database/state-file.js';
import { SumsFile } from '../../../../src/database/sums-file.js';
import { SluiceError } from '../../../../src/errors.js';
import { Crc64, DatabaseSums, encodeLtx, fileSource, LtxError, verifyLtx } from '../../../../src/ltx/index.js';
import { headerOf, makePages } from '../../../ltx/support.js';
import { attempt, mustHold, type Target, type TargetOpener } from '../target.js';

/** Where a database stands: two records, each with a checksum. */
export const stateFile: TargetOpener = {
  open(folder): Target {
    const path = join(folder, 'state');
    const file = new StateFile(path);
    const state = { ...INITIAL_STATE, txid: 7, checksum: 1n << 63n, pageSize: 4096, pageCount: 9, origin: 5n };
    for (let txid = 7; txid < 9; txid++) file.write({ ...state, txid });
    file.close();
    return {
      seeds: [readFileSync(path), Buffer.alloc(512)],
      maxBytes: 600,
      repair(input) {
        const crc = new Crc64();
        for (let at = 0; at + 256 <= input.length; at += 256) {
          crc.reset();
          crc.update(input, at, at + 248);
          input.writeUInt32BE(crc.high, at + 248);
          input.writeUInt32BE(crc.low, at + 252);
        }
        return input;
      },
      run(input) {
        writeFileSync(path, input);
        const { found } = reopen(path);
        if (found === undefined) return;
        const file = new StateFile(path);
        file.write(found);
        file.close();
        const again = reopen(path).found;
        mustHold(text(again) === text(found), 'a state that is written and read is another');
      },
    };
  },
};

function reopen(path: string): StateFile {
  const file = new StateFile(path);
  file.close();
  return file;
}

const text = (value: unknown): string =>
  JSON.stringify(value, (_, field: unknown) =>
    typeof field === 'bigint' || typeof field === 'number' ? String(field) : field,
  );

/** The checksums of all pages. */
export const sumsFile: TargetOpener = {
  open(folder): Target {
    const path = join(folder, 'sums');
    const seed = (pages: number): Buffer => {
      const bytes = Buffer.alloc(4 + 8 * pages, 0x81);
      bytes.writeUInt32BE(pages, 0);
      return bytes;
    };
    return {
      seeds: [seed(1), seed(70), seed(3000)],
      maxBytes: 32 << 10,
      run(input) {
        if (input.length < 4) return;
        writeFileSync(path, input.subarray(4));
        const file = new SumsFile(path);
        try {
          const pages = input.readUInt32BE(0);
          const sums = file.load(4096, pages);
          mustHold((sums !== undefined) === 8 * pages <= input.length - 4, 'as many pages as the file has');
          if (sums === undefined) return;
          file.writeAll(sums);
          const again = file.load(4096, pages);
          mustHold(again?.checksum() === sums.checksum() && again instanceof DatabaseSums, 'other checksums');
        } finally {
          file.close();
        }
      },
    };
  },
};

/** A segment of the log. */
export const logSegment: TargetOpener = {
  open(folder): Target {
    const path = join(folder, 'segment');
    const ltx = (txid: number): Uint8Array =>
      encodeLtx(headerOf({ minTxid: txid, maxTxid: txid }), makePages(512, [1, 2]));
    const segment = LogSegment.create(path, 7);
    segment.append([ltx(7), ltx(8), ltx(9)]);
    const seed = readFileSync(path);
    segment.remove();
    return {
      seeds: [seed, seed.subarray(0, seed.length - 5), Buffer.alloc(0)],
      dictionary: [
        Buffer.from('SLG1'),
        Buffer.from('534c47310000000000000000000000', 'hex'),
        seed.subarray(0, RECORD_HEADER_SIZE),
      ],
      maxBytes: 64 << 10,
      run(input) {
        for (const verify of ['none', 'last', 'all'] as const) {
          writeFileSync(path, input);
          const opened = attempt(isOurs, () => LogSegment.open(path, 7, verify));
          if (!('value' in opened)) continue;
          checkRecords(opened.value, readFileSync(path).length, verify === 'all');
        }
      },
    };
  },
};

function checkRecords(segment: LogSegment, fileSize: number, sound: boolean): void {
  const { fd } = segment;
  try {
    mustHold(segment.size === fileSize, 'what follows the last record was not cut off');
    for (let txid = segment.firstTxid; txid <= segment.lastTxid; txid++) {
      const [offset, size] = [segment.offsetOf(txid), segment.sizeOf(txid)];
      mustHold(offset >= RECORD_HEADER_SIZE && offset + size <= fileSize, 'a record outside of the file');
      if (sound) verifyLtx(fileSource(fd, offset, size));
    }
    segment.append([Buffer.alloc(10)]);
    mustHold(segment.sizeOf(segment.lastTxid) === 10, 'what is added is not there');
  } finally {
    // `release` keeps the descriptor for two seconds, which is too many of them here.
    closeSync(fd);
  }
}

const isOurs = (error: unknown): boolean => error instanceof SluiceError || error instanceof LtxError;
