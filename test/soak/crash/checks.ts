import { rmSync } from 'node:fs';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { openStore, restore } from '../../../src/backup/index.js';
import { backedUp } from '../../e2e/nodes.js';
import { type ClusterNode, contentChecksum, txidOf, waitUntilSame } from '../../support/cluster.js';

const OPEN_TIMEOUT_MS = 20_000;
const BACKUP_LIMIT_MS = 120_000;

/** The positions of a campaign's databases, which may only grow. */
export class Positions {
  readonly #last = new Map<string, number>();

  /** Looks at one database on one node. A database that is not there yet has none. */
  async look(who: string, node: ClusterNode, database: string): Promise<void> {
    const position = await node.position(database);
    if (position === undefined) return;
    const key = `${database} on the ${who}`;
    const txid = txidOf(position);
    const last = this.#last.get(key) ?? 0;
    if (txid < last) throw new Error(`${key} went back from ${last} to ${txid}`);
    this.#last.set(key, txid);
  }
}

/**
 * Every number up to the last reported one is in both tables. Opening it for writing also ends what a killed writer left:
 * a hot journal, or a WAL whose index is gone.
 */
export function checkRows(path: string, reported: number): { readonly rows: number } {
  const db = new Sqlite(path, { timeout: OPEN_TIMEOUT_MS });
  try {
    const tables = db.prepare("SELECT count(*) FROM sqlite_schema WHERE name IN ('committed', 'twin')").pluck().get();
    if (tables !== 2 && reported === 0) return { rows: 0 };
    const { rows, last } = db.prepare('SELECT count(*) AS rows, coalesce(max(id), 0) AS last FROM committed').get() as {
      rows: number;
      last: number;
    };
    if (last < reported) throw new Error(`${path}: the last row is ${last}, and ${reported} had been committed`);
    if (rows !== last) throw new Error(`${path}: ${rows} rows up to number ${last}`);
    const different = db
      .prepare(
        'SELECT (SELECT count(*) FROM twin) - count(*) + (SELECT count(*) FROM committed WHERE id NOT IN (SELECT id FROM twin)) FROM committed',
      )
      .pluck()
      .get();
    if (different !== 0) throw new Error(`${path}: half a transaction is there (${different} rows of difference)`);
    return { rows };
  } finally {
    db.close();
  }
}

/** Primary and replica have the same position and content. The database must be quiet. Resolves with the position. */
export function checkReplica(primary: ClusterNode, replica: ClusterNode, database: string): Promise<string> {
  return waitUntilSame(primary, replica, database);
}

/** What the backup has is the content at that position. */
export async function checkBackup(
  primary: ClusterNode,
  database: string,
  position: string,
  url: string,
): Promise<void> {
  await backedUp(primary, database, BACKUP_LIMIT_MS);
  const root = openStore(url);
  const output = join(primary.dir, 'restored', database);
  try {
    const result = await restore({ store: root.database(database), output, force: true });
    const [txid, checksum] = position.split('/') as [string, string];
    if (result.txid !== Number.parseInt(txid, 16)) {
      throw new Error(`${database}: restored at ${result.txid.toString(16)}, not ${txid}`);
    }
    const restored = contentChecksum(output);
    if (restored !== checksum) throw new Error(`${database}: restored as ${restored}, not ${checksum} at ${txid}`);
  } finally {
    root.close();
    rmSync(join(primary.dir, 'restored'), { recursive: true, force: true });
  }
}
