import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import Sqlite from 'better-sqlite3';
import { type Node, startNode } from './places.js';
import { median } from './stats.js';

const WRITER = fileURLToPath(new URL('./writer-process.js', import.meta.url));
const TURNS = 10;
const COMMITS = 1000;
const TOGETHER_MS = 10_000;
/** For a replica to have what the primary has. */
const SETTLE_MS = 1500;

export interface TogetherFigures {
  /** Microseconds of a commit at p50: on a primary that takes no writes of replicas, and on one that has taken some. */
  readonly alone: number;
  readonly taking: number;
  /** What each node's application committed while all did. */
  readonly commits: readonly { readonly node: string; readonly count: number; readonly longestMs: number }[];
}

/** What a primary's own applications pay for those of replicas: while these do not write, and while all do. */
export async function measureTogether(root: string): Promise<TogetherFigures> {
  const folder = mkdtempSync(join(root, 'together-'));
  const nodes: Node[] = [];
  const start = async (...args: Parameters<typeof startNode>): Promise<Node> => {
    const node = await startNode(...args);
    nodes.push(node);
    return node;
  };
  try {
    const alone = await start(folder, 'alone', { writes: { forward: false } });
    const primary = await start(folder, 'primary');
    const dbs = [alone, primary].map(({ mount }) => make(join(mount, 'a.db')));
    const follow = { follow: primary, locks: 'sluice' } as const;
    const replicas = [await start(folder, 'replica-1', follow), await start(folder, 'replica-2', follow)];
    await sleep(SETTLE_MS);
    for (const { mount } of replicas) {
      const db = new Sqlite(join(mount, 'a.db'), { timeout: 20_000 });
      db.exec('INSERT INTO t (v) VALUES (0)');
      db.close();
    }
    await sleep(SETTLE_MS);
    const times: number[][] = [[], []];
    for (let turn = 0; turn < TURNS; turn++)
      for (const i of turn % 2 === 0 ? [0, 1] : [1, 0]) times[i]!.push(p50(dbs[i]!));
    for (const db of dbs) db.close();
    const named = [primary, ...replicas].map(({ mount }, i) => ({ mount, node: i === 0 ? 'primary' : `replica ${i}` }));
    const writers = named.map(({ mount, node }) => ({ node, child: fork(WRITER, [join(mount, 'a.db')]) }));
    const commits = await Promise.all(writers.map(async ({ node, child }) => ({ node, ...(await work(child)) })));
    return { alone: median(times[0]!), taking: median(times[1]!), commits };
  } finally {
    for (const node of nodes.reverse()) await node.server.stop();
  }
}

function make(path: string): Sqlite.Database {
  const db = new Sqlite(path, { timeout: 20_000 });
  db.pragma('journal_mode = WAL');
  db.pragma('synchronous = NORMAL');
  db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v)');
  return db;
}

/** Microseconds. */
function p50(db: Sqlite.Database): number {
  const insert = db.prepare('INSERT INTO t (v) VALUES (?)');
  const times: number[] = [];
  for (let n = 0; n < COMMITS; n++) {
    const startMs = performance.now();
    insert.run(n);
    times.push((performance.now() - startMs) * 1000);
  }
  return median(times);
}

async function work(child: ChildProcess): Promise<{ count: number; longestMs: number }> {
  await once(child, 'message');
  await sleep(TOGETHER_MS);
  const told = once(child, 'message');
  child.send('end');
  const [figures] = (await told) as [{ count: number; longestMs: number }];
  return figures;
}
