import { statSync } from 'node:fs';
import type { Database } from './database/index.js';
import { formatChecksum, formatTxid } from './ltx/index.js';
import type { DatabaseStatus, Problem } from './status.js';

/** Local files that a status names. */
const LISTED_FILES = 100;

/** How one database stands. `lagMs`: on a replica. */
export function databaseStatus(db: Database, lagMs: number | null): DatabaseStatus {
  const { txid, checksum } = db.position;
  const walBytes = statSync(db.walPath, { throwIfNoEntry: false })?.size ?? 0;
  const behind = lagMs !== null && db.log.last > txid;
  return {
    name: db.name,
    state: db.problem !== undefined ? 'damaged' : behind ? 'behind' : 'ok',
    txid: formatTxid(txid),
    checksum: formatChecksum(checksum),
    pageSize: db.pageSize,
    pageCount: db.pageCount,
    sizeBytes: db.pageSize * db.pageCount,
    journalMode: db.state.walFrames > 0 || walBytes > 0 || db.isWal() ? 'wal' : 'rollback',
    walBytes,
    lagMs,
    log: { first: formatTxid(db.log.first), last: formatTxid(db.log.last), bytes: db.log.bytes },
  };
}

/** The troubles of databases, also of those that are not served. */
export function databaseProblems(databases: readonly Database[]): Problem[] {
  const problems: Problem[] = [];
  for (const { name, problem } of databases) {
    if (problem === undefined) continue;
    const { error, sinceMs } = problem;
    problems.push({
      code: error.code,
      subject: name,
      message: error.message,
      hint: error.hint,
      since: new Date(sinceMs).toISOString(),
    });
  }
  return problems;
}

export function listedFiles(files: readonly string[]): readonly string[] {
  return files.slice(0, LISTED_FILES);
}
