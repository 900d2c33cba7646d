import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import Sqlite from 'better-sqlite3';
import { startNode } from './places.js';
import { median } from './stats.js';

/**
 * A program: `forwarded.js ROOT ROUND_TRIP_MS` measures writes on a replica whose primary is so far away, and prints one JSON
 * line; `forwarded.js write DATABASE` writes there until it is told to end.
 */

/** Longer than a node keeps the lock for the next transaction. */
const PAUSE_MS = 60;
const SINGLES = 25;
const LOOP = 100;
/** In a pass; of passes. */
const READS = 20_000;
const PASSES = 5;
const WARM_UP = 20;

export interface ReadFigures {
  readonly p50Us: number;
  readonly meanUs: number;
}

export interface ForwardedFigures {
  /** One autocommit insert, the lock not at hand; and one of a loop. */
  readonly singleUs: number;
  readonly loopUs: number;
  /** Point reads on the replica, while nobody and while another process of it writes. */
  readonly read: ReadFigures;
  readonly readBeside: ReadFigures;
}

const DISTANCE = fileURLToPath(new URL('./distance.js', import.meta.url));

const [first, second] = process.argv.slice(2);
if (first === 'write') writeOn(second!);
else {
  console.log(JSON.stringify(await measure(first!, Number(second))));
  process.exit(0);
}

async function measure(root: string, roundTripMs: number): Promise<ForwardedFigures> {
  const folder = mkdtempSync(join(root, 'forwarded-'));
  const primary = await startNode(folder, 'primary');
  try {
    const path = join(primary.mount, 'a.db');
    const db = new Sqlite(path);
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = NORMAL');
    db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v)');
    const streamUrl = await atDistance(primary.streamUrl, roundTripMs / 2);
    const replica = await startNode(folder, 'replica', { follow: { ...primary, streamUrl }, locks: 'sluice' });
    try {
      await sleep(500);
      commits(db, WARM_UP);
      return await onReplica(join(replica.mount, 'a.db'));
    } finally {
      await replica.server.stop();
    }
  } finally {
    await primary.server.stop();
  }
}

/** The same address from so far away. */
async function atDistance(url: string, oneWayMs: number): Promise<string> {
  if (oneWayMs === 0) return url;
  const relay = fork(DISTANCE, [new URL(url).port, String(oneWayMs)]);
  const [port] = (await once(relay, 'message')) as [number];
  return `ws://127.0.0.1:${port}`;
}

async function onReplica(path: string): Promise<ForwardedFigures> {
  const db = new Sqlite(path, { timeout: 20_000 });
  commits(db, WARM_UP);
  const singles: number[] = [];
  for (let n = 0; n < SINGLES; n++) {
    await sleep(PAUSE_MS);
    singles.push(commits(db, 1));
  }
  const loopUs = commits(db, LOOP);
  await sleep(PAUSE_MS);
  reads(db);
  const read = typicalReads(db);
  const writer = fork(fileURLToPath(import.meta.url), ['write', path]);
  await once(writer, 'message');
  const readBeside = typicalReads(db);
  const exit = once(writer, 'exit');
  writer.send('end');
  await exit;
  db.close();
  return { singleUs: median(singles), loopUs, read, readBeside };
}

/** Each one's time, in microseconds. */
function commits(db: Sqlite.Database, count: number): number {
  const insert = db.prepare('INSERT INTO t (v) VALUES (?)');
  const startMs = performance.now();
  for (let n = 0; n < count; n++) insert.run(n);
  return ((performance.now() - startMs) * 1000) / count;
}

/** The median pass. */
function typicalReads(db: Sqlite.Database): ReadFigures {
  const passes = Array.from({ length: PASSES }, () => reads(db));
  return { p50Us: median(passes.map(({ p50Us }) => p50Us)), meanUs: median(passes.map(({ meanUs }) => meanUs)) };
}

function reads(db: Sqlite.Database): ReadFigures {
  const select = db.prepare('SELECT v FROM t WHERE id = ?');
  const times = new Float64Array(READS);
  const startMs = performance.now();
  let last = startMs;
  for (let n = 0; n < READS; n++) {
    select.get(1 + (n % 100));
    const now = performance.now();
    times[n] = now - last;
    last = now;
  }
  const meanUs = ((last - startMs) * 1000) / READS;
  return { p50Us: times.sort()[READS / 2]! * 1000, meanUs };
}

function writeOn(path: string): void {
  const db = new Sqlite(path, { timeout: 20_000 });
  let isOver = false;
  process.on('message', () => {
    isOver = true;
  });
  const next = (): void => {
    commits(db, 1);
    if (isOver) process.exit(0);
    setImmediate(next);
  };
  commits(db, 1);
  process.send!('begun');
  next();
}
