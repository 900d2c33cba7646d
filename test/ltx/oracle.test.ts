import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { bytesSource, compactLtx, encodeLtx, LtxEncoder } from '../../src/ltx/index.js';
import {
  checksumOf,
  findLtx,
  headerOf,
  makePages,
  makeSnapshot,
  standardChecksumOf,
  upTo,
  withFolder,
} from './support.js';

const ltx = findLtx();
const judged = ltx === undefined ? test.skip : test;
const name = (what: string): string => (ltx === undefined ? `${what} (skipped: no ltx program, set LTX_BIN)` : what);
if (ltx === undefined) console.log('skipped: the ltx program is not there; set LTX_BIN to judge files by it');

/** Runs `ltx`; throws with its output if it fails. */
function run(...args: string[]): string {
  return execFileSync(ltx!, args, { encoding: 'utf8', timeout: 30_000, stdio: 'pipe' });
}

function verifies(files: Readonly<Record<string, Uint8Array>>): void {
  withFolder((folder) => {
    const paths = Object.entries(files).map(([file, bytes]) => {
      const path = join(folder, file);
      writeFileSync(path, bytes);
      return path;
    });
    assert.is(run('verify', ...paths).trim(), 'ok');
  });
}

judged(name('ltx verify accepts snapshots and transactions of every page size'), () => {
  const files: Record<string, Uint8Array> = {};
  for (let pageSize = 512; pageSize <= 65536; pageSize *= 2) {
    files[`snapshot-${pageSize}`] = makeSnapshot(pageSize, 12, 3);
    files[`transaction-${pageSize}`] = encodeLtx(
      headerOf({ pageSize, commit: 40 }),
      makePages(pageSize, [1, 2, 7, 40]),
    );
    files[`empty-${pageSize}`] = encodeLtx(headerOf({ pageSize, commit: 0 }), []);
  }
  verifies(files);
});

judged(name('ltx verify accepts a stream and a compaction'), () => {
  const pages = makePages(4096, upTo(500));
  const header = headerOf({ pageSize: 4096, commit: 500, minTxid: 1, maxTxid: 6, postApply: checksumOf(4096, pages) });
  const stream: Uint8Array[] = [];
  const encoder = new LtxEncoder((piece) => stream.push(Uint8Array.from(piece)), header);
  for (const { pgno, data } of pages) encoder.writePage(pgno, data);
  encoder.finish();
  const snapshot = Buffer.concat(stream);
  const next = encodeLtx(headerOf({ pageSize: 4096, commit: 502 }), makePages(4096, [1, 400, 501, 502], 1));
  const merged: Uint8Array[] = [];
  compactLtx([bytesSource(snapshot), bytesSource(next)], (piece) => merged.push(Uint8Array.from(piece)));
  verifies({ snapshot, next, merged: Buffer.concat(merged) });
});

judged(name('ltx apply makes the same database, and ltx checksum the same checksum'), () => {
  withFolder((folder) => {
    const pages = makePages(1024, upTo(30));
    const image = Buffer.concat(pages.map((page) => page.data));
    image.write('SQLite format 3\0');
    image.writeUInt16BE(1024, 16);
    image.writeUInt32BE(30, 28);
    pages[0] = { pgno: 1, data: image.subarray(0, 1024) };
    const postApply = checksumOf(1024, pages);
    const snapshot = encodeLtx(headerOf({ pageSize: 1024, commit: 30, minTxid: 1, postApply }), pages);
    const [changed] = makePages(1024, [7], 5);
    const next = encodeLtx(headerOf({ pageSize: 1024, commit: 30, minTxid: 8, maxTxid: 8, preApply: postApply }), [
      changed!,
    ]);
    const paths = [snapshot, next].map((bytes, i) => {
      const path = join(folder, `${i}.ltx`);
      writeFileSync(path, bytes);
      return path;
    });
    const database = join(folder, 'db');
    run('apply', '-db', database, paths[0]!);
    assert.equal(readFileSync(database), image);
    assert.match(run('checksum', database), standardChecksumOf(1024, pages).toString(16));
    run('apply', '-db', database, paths[1]!);
    image.set(changed!.data, 6 * 1024);
    assert.equal(readFileSync(database), image);
  });
});

judged(name('ltx verify refuses a damaged file'), () => {
  withFolder((folder) => {
    const path = join(folder, 'bad');
    const bytes = Buffer.from(makeSnapshot(512, 3, 1));
    bytes[bytes.length - 1]! ^= 1;
    writeFileSync(path, bytes);
    assert.throws(() => run('verify', path));
  });
});

test.run();
