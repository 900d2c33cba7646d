import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { openStore, restore } from '../../src/backup/index.js';
import type { DatabaseStatus, NodeStatus } from '../../src/status.js';
import type { ClusterNode } from '../support/cluster.js';

/** For what was committed last to be on the replica and in the backup. */
const ARRIVAL_LIMIT_MS = 60_000;
const POLL_MS = 50;

/** What a test left, compared. */
export interface LeftOver {
  readonly compared: number;
  /** Databases of which the node itself says that they are damaged, with its reason: some tests damage theirs. */
  readonly excused: readonly string[];
  readonly differences: readonly string[];
}

/**
 * Compares, byte for byte, each database that is on a primary with the same one on its replica and with what a restore
 * makes from its store. Nobody may be writing.
 */
export async function compareLeftOver(primary: ClusterNode, replica: ClusterNode, store: string): Promise<LeftOver> {
  const { status, late } = await arrival(primary, replica);
  const excused: string[] = [];
  const differences: string[] = [...late];
  let compared = 0;
  for (const database of status.databases) {
    const problem = status.problems.find(({ subject }) => subject === database.name);
    if (problem !== undefined) excused.push(`${database.name}: ${problem.code} ${problem.message}`);
    else if (!late.some((text) => text.startsWith(`${database.name}: `))) {
      compared++;
      differences.push(...(await compareDatabase(database, primary, replica, store)));
    }
  }
  return { compared, excused, differences };
}

/** Waits until replica and backup have what the primary has. Returns what did not come. */
async function arrival(primary: ClusterNode, replica: ClusterNode): Promise<{ status: NodeStatus; late: string[] }> {
  const untilMs = performance.now() + ARRIVAL_LIMIT_MS;
  for (;;) {
    const status = await primary.status();
    const late = missing(status, await replica.status());
    if (late.length === 0 || performance.now() > untilMs) return { status, late };
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function missing(primary: NodeStatus, replica: NodeStatus): string[] {
  const damaged = new Set(primary.problems.map(({ subject }) => subject));
  const late = primary.databases.flatMap(({ name, txid, checksum }) => {
    if (damaged.has(name)) return [];
    const copy = replica.databases.find((database) => database.name === name);
    const here = `${txid}/${checksum}`;
    const there = copy === undefined ? 'nothing' : `${copy.txid}/${copy.checksum}`;
    const stored = primary.backups.map(({ databases }) => databases.find((database) => database.name === name)?.txid);
    return [
      ...(there === here ? [] : [`${name}: ${here} on the primary, ${there} on the replica`]),
      ...(stored.every((last) => last === txid) ? [] : [`${name}: ${txid} on the primary, ${stored} in the backup`]),
    ];
  });
  const tooMany = replica.databases.filter(({ name }) => !primary.databases.some((database) => database.name === name));
  return [...late, ...tooMany.map(({ name }) => `${name}: on the replica alone`)];
}

async function compareDatabase(
  { name, txid, checksum }: DatabaseStatus,
  primary: ClusterNode,
  replica: ClusterNode,
  store: string,
): Promise<string[]> {
  const scratch = mkdtempSync(join(primary.dir, 'compare-'));
  try {
    const here = settled(primary.backing(name), join(scratch, 'primary'));
    const there = settled(replica.backing(name), join(scratch, 'replica'));
    const restored = await restore({
      store: openStore(`file://${store}`).database(name),
      output: join(scratch, 'restored'),
    });
    const found = `${restored.txid.toString(16).padStart(16, '0')}/${restored.checksum.toString(16).padStart(16, '0')}`;
    return [
      ...(found === `${txid}/${checksum}` ? [] : [`${name}: ${txid}/${checksum}, but restored as ${found}`]),
      ...difference(name, 'the primary', here, readFileSync(restored.output)),
      ...difference(name, 'the replica', there, readFileSync(restored.output)),
    ];
  } catch (error) {
    return [`${name}: ${error instanceof Error ? error.message : String(error)}`];
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** The bytes of a database once SQLite has put its file and its journal or WAL together, in a copy of them. */
function settled(path: string, copy: string): Buffer {
  for (const suffix of ['', '-wal', '-journal']) {
    if (existsSync(path + suffix)) copyFileSync(path + suffix, copy + suffix);
  }
  const db = new Sqlite(copy);
  try {
    db.pragma('wal_checkpoint(TRUNCATE)');
    const pageSize = db.pragma('page_size', { simple: true }) as number;
    const pageCount = db.pragma('page_count', { simple: true }) as number;
    // Not the file's size: a writer that died after its commit has not cut off the pages that it freed, and a backup of an
    // empty database leaves a last page that is cut short. SQLite reads zeros there.
    const pages = Buffer.alloc(pageSize * pageCount);
    readFileSync(copy).copy(pages);
    return pages;
  } finally {
    db.close();
  }
}

function difference(name: string, where: string, bytes: Buffer, restored: Buffer): string[] {
  if (bytes.equals(restored)) return [];
  if (bytes.length !== restored.length) {
    return [`${name}: ${bytes.length} bytes on ${where}, ${restored.length} restored`];
  }
  return [
    `${name}: ${where} and what is restored differ from byte ${bytes.findIndex((byte, i) => byte !== restored[i])}`,
  ];
}
