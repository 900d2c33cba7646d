import { statSync } from 'node:fs';
import type { Database } from './database/index.js';
import { formatChecksum, formatTxid } from './ltx/index.js';
import { type DatabaseStatus, type DurabilityStatus, isUnfit, type Problem } from './status.js';

/** Local files that a status names. */
const LISTED_FILES = 100;

/** What a replica does not have for longer than that makes it `behind`; under load it always misses the last few milliseconds. */
const BEHIND_MS = 1_000;

/** How one database stands. `lagMs`: on a replica how old what it shows is, null if that is not known. */
export function databaseStatus(
  db: Database,
  role: 'primary' | 'replica',
  lagMs: number | null,
  durability: DurabilityStatus | null,
  writer: string | null,
): DatabaseStatus {
  const { txid, checksum } = db.position;
  const walBytes = statSync(db.walPath, { throwIfNoEntry: false })?.size ?? 0;
  const damaged = db.problem !== undefined && isUnfit(db.problem.error);
  const behind = role === 'replica' && (lagMs === null || lagMs > BEHIND_MS);
  return {
    name: db.name,
    state: damaged ? 'damaged' : behind ? 'behind' : 'ok',
    txid: formatTxid(txid),
    checksum: formatChecksum(checksum),
    pageSize: db.pageSize,
    pageCount: db.pageCount,
    sizeBytes: db.pageSize * db.pageCount,
    journalMode: db.state.walFrames > 0 || walBytes > 0 || db.isWal() ? 'wal' : 'rollback',
    walBytes,
    lagMs,
    log: { first: formatTxid(db.log.first), last: formatTxid(db.log.last), bytes: db.log.bytes },
    durability,
    writer,
  };
}

/** All that is wrong, each thing once, worst first: the troubles of databases, also of those not served, and others. */
export function nodeProblems(databases: Iterable<Database>, others: readonly Problem[]): Problem[] {
  const problems = new Map<string, Problem>();
  for (const problem of [...databaseProblems(databases), ...others]) {
    const key = `${problem.code} ${problem.subject}`;
    if (!problems.has(key)) problems.set(key, problem);
  }
  return [...problems.values()].sort((a, b) => Number(isUnfit(b)) - Number(isUnfit(a)));
}

function* databaseProblems(databases: Iterable<Database>): Generator<Problem> {
  for (const { name, problem } of databases) {
    if (problem === undefined) continue;
    const { code, message, hint } = problem.error;
    yield { code, subject: name, message, hint, since: new Date(problem.sinceMs).toISOString() };
  }
}

export function listedFiles(files: readonly string[]): readonly string[] {
  return files.slice(0, LISTED_FILES);
}
