/** `compactor.js make FOLDER MEGABYTES` makes files to merge; `compactor.js run FOLDER` merges them and measures itself. */
import { randomBytes } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { compact } from '../src/backup/compaction.js';
import { openStore } from '../src/backup/index.js';
import { LtxEncoder, lockPage } from '../src/ltx/index.js';

const FILES = 8;
const PAGE_BYTES = 4096;
const RANDOM_POOL_BYTES = 16 * 1024 * 1024;

const [task, folder, size] = process.argv.slice(2);
const store = openStore(`file://${folder}`).database('app.db');
console.log(JSON.stringify(task === 'make' ? await make(Number(size)) : await run()));

/** Each of the files has every eighth page. */
async function make(megabytes: number): Promise<object> {
  const pages = Math.floor((megabytes * 1e6) / PAGE_BYTES);
  let bytes = 0;
  for (let n = 0; n < FILES; n++) {
    const timestampMs = Date.now();
    await store.put({ level: 1, minTxid: n + 2, maxTxid: n + 2, timestampMs }, encode(n, pages));
  }
  for (const file of await store.listAll()) bytes += file.sizeBytes;
  return { bytes };
}

/** Half of each page does not compress. */
async function* encode(n: number, pages: number): AsyncGenerator<Uint8Array, void, undefined> {
  const made: Uint8Array[] = [];
  const txids = { minTxid: n + 2, maxTxid: n + 2 };
  const header = {
    pageSize: PAGE_BYTES,
    commit: pages,
    ...txids,
    timestampMs: Date.now(),
    preApply: 0n,
    postApply: 0n,
  };
  const encoder = new LtxEncoder((piece) => made.push(Uint8Array.from(piece)), header);
  const pool = randomBytes(RANDOM_POOL_BYTES);
  const page = Buffer.alloc(PAGE_BYTES);
  for (let pgno = n + 1; pgno <= pages; pgno += FILES) {
    if (pgno === lockPage(PAGE_BYTES)) continue;
    const at = (pgno * 1237) % (RANDOM_POOL_BYTES - PAGE_BYTES);
    pool.copy(page, 0, at, at + PAGE_BYTES / 2);
    encoder.writePage(pgno, page);
    if (made.length > 0) yield* made.splice(0);
  }
  encoder.finish();
  yield* made.splice(0);
}

async function run(): Promise<object> {
  const start = performance.now();
  const merged = await compact(store, await store.listAll(), 2);
  const seconds = (performance.now() - start) / 1000;
  const peakKilobytes = Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'latin1'))![1]);
  const { size: bytes } = statSync(`${folder}/app.db/ltx/2/${name(merged)}`);
  return { peakBytes: peakKilobytes * 1024, seconds, bytes };
}

function name({ minTxid, maxTxid }: { readonly minTxid: number; readonly maxTxid: number }): string {
  return `${[minTxid, maxTxid].map((txid) => txid.toString(16).padStart(16, '0')).join('-')}.ltx`;
}
