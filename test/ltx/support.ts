import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import {
  bytesSource,
  type ChecksumHalves,
  Crc64,
  DatabaseSums,
  encodeLtx,
  LtxError,
  type LtxErrorCode,
  type LtxHeader,
  type LtxPage,
  LtxReader,
  type LtxSummary,
  pageChecksum,
  pageCrc,
  standardPageChecksumFrom,
} from '../../src/ltx/index.js';

const FIXTURES = fileURLToPath(new URL('../../../test/fixtures/ltx/', import.meta.url));

export function fixture(name: string): Uint8Array {
  return readFileSync(join(FIXTURES, name));
}

/** A header of a transaction with TXID 7; each field another value. */
export function headerOf(fields: Partial<LtxHeader> = {}): LtxHeader {
  return {
    pageSize: 512,
    commit: 9,
    minTxid: 7,
    maxTxid: 7,
    timestampMs: 1_795_259_298_915,
    preApply: 0n,
    postApply: 0n,
    ...fields,
  };
}

/** A page whose bytes depend on page number and seed: some compress, some do not, some are zero. */
export function makePage(pageSize: number, pgno: number, seed = 0): Uint8Array {
  const page = new Uint8Array(pageSize);
  let state = (Math.imul(pgno, 0x9e3779b1) ^ Math.imul(seed + 1, 0x85ebca6b)) | 1;
  const kind = (pgno + seed) % 4;
  for (let i = 0; kind !== 3 && i < pageSize; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    page[i] = kind === 0 ? state : kind === 1 ? i >>> 4 : state & 1;
  }
  new DataView(page.buffer).setUint32(pageSize - 8, seed);
  new DataView(page.buffer).setUint32(pageSize - 4, pgno);
  return page;
}

export function makePages(pageSize: number, pgnos: readonly number[], seed = 0): LtxPage[] {
  return pgnos.map((pgno) => ({ pgno, data: makePage(pageSize, pgno, seed) }));
}

export function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i + 1);
}

export function checksumOf(pageSize: number, pages: readonly LtxPage[]): bigint {
  const sums = new DatabaseSums(pageSize);
  const out: ChecksumHalves = { high: 0, low: 0 };
  for (const { pgno, data } of pages) {
    pageChecksum(pgno, data, 0, pageSize, out);
    sums.set(pgno, out.high, out.low);
  }
  return sums.checksum();
}

/** What the LTX format calls the database's checksum: the XOR of its pages' CRCs. */
export function standardChecksumOf(pageSize: number, pages: readonly LtxPage[]): bigint {
  const sums = new DatabaseSums(pageSize);
  const out: ChecksumHalves = { high: 0, low: 0 };
  for (const { pgno, data } of pages) {
    pageCrc(data, 0, pageSize, out);
    standardPageChecksumFrom(pgno, pageSize, out, out);
    sums.set(pgno, out.high, out.low);
  }
  return sums.checksum();
}

/** The same file with the format's own checksums instead of Sluice's. */
export function asStandard(bytes: Uint8Array, preApply: bigint, postApply: bigint): Uint8Array {
  const copy = Buffer.from(bytes);
  copy.writeUInt32BE(0, 4);
  copy.writeBigUInt64BE(preApply, 40);
  copy.fill(0, 80, 100);
  copy.writeBigUInt64BE(postApply, copy.length - 16);
  // In the file's checksum pages count as they are, not as they are stored.
  const crc = new Crc64();
  crc.update(copy, 0, 100);
  let at = 100;
  for (const { data } of readAll(bytes).pages) {
    crc.update(copy, at, at + 10);
    crc.update(data);
    at += 10 + copy.readUInt32BE(at + 6);
  }
  crc.update(copy, at, copy.length - 8);
  copy.writeBigUInt64BE(crc.checksum, copy.length - 8);
  return copy;
}

/** A snapshot up to `txid` with its right checksum. */
export function makeSnapshot(pageSize: number, commit: number, txid: number, seed = 0): Uint8Array {
  const pages = makePages(pageSize, upTo(commit), seed);
  const postApply = checksumOf(pageSize, pages);
  return encodeLtx(headerOf({ pageSize, commit, minTxid: 1, maxTxid: txid, postApply }), pages);
}

/** In pieces of `pieceSize` bytes, if it is given. */
export function readAll(bytes: Uint8Array, pieceSize?: number): { pages: LtxPage[]; summary: LtxSummary } {
  const reader = new LtxReader(bytesSource(bytes), pieceSize);
  const pages: LtxPage[] = [];
  for (;;) {
    const data = new Uint8Array(reader.header.pageSize);
    const pgno = reader.nextPage(data);
    if (pgno === 0) break;
    pages.push({ pgno, data });
  }
  return { pages, summary: reader.finish() };
}

export function throwsLtx(run: () => unknown, code: LtxErrorCode, message?: RegExp): void {
  let thrown: unknown;
  try {
    run();
  } catch (error) {
    thrown = error;
  }
  assert.instance(thrown, LtxError, `${code} expected, got ${String(thrown)}`);
  assert.is((thrown as LtxError).code, code, String(thrown));
  if (message !== undefined) assert.match((thrown as LtxError).message, message);
}

/** The `ltx` program of superfly, or undefined; throws in CI, where it must be there. */
export function findLtx(): string | undefined {
  const { LTX_BIN, SLUICE_TOOLS, CI } = process.env;
  const path = LTX_BIN ?? join(SLUICE_TOOLS ?? join(homedir(), '.cache', 'sluice-tools'), 'bin', 'ltx');
  if (existsSync(path)) return path;
  if (CI === 'true') throw new Error(`no ltx program at ${path}: set LTX_BIN or run the tools' set-up`);
  return undefined;
}

export function withFolder(run: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-ltx-'));
  try {
    run(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
