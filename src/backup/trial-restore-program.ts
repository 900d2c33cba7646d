/**
 * Run by trial-restore.ts: takes one request over IPC, restores a database, has SQLite check it, and answers. It ends with the
 * process that started it.
 */
import { constants, setPriority } from 'node:os';
import Database from 'better-sqlite3';
import { describeError, errorCode, SluiceError } from '../errors.js';
import { OWN_FUNCTIONS } from './database-check.js';
import { describeFile } from './file-names.js';
import { openConfiguredStore } from './open-store.js';
import { restore } from './restore.js';
import type { TrialAnswer, TrialRequest } from './trial-restore.js';

/** Findings of SQLite that are told. */
const FINDINGS_LIMIT = 10;

async function answer({ config, database, output }: TrialRequest): Promise<TrialAnswer> {
  const root = openConfiguredStore(config);
  try {
    const { txid, checksum, sizeBytes, leftOut } = await restore({ store: root.database(database), output });
    const unchecked = checkDatabase(output);
    const damaged = leftOut.filter(({ isUnnamed }) => isUnnamed !== true);
    return {
      ok: true,
      txid,
      checksum: checksum.toString(),
      sizeBytes,
      damaged: damaged.map(({ file, why }) => `${describeFile(file)}: ${why}`),
      ...(unchecked !== undefined && { unchecked }),
    };
  } catch (error) {
    const hint = error instanceof SluiceError ? error.hint : '';
    const message = error instanceof Error ? error.message : describeError(error);
    return { ok: false, code: errorCode(error) ?? 'VERIFY_FAILED', message, hint };
  } finally {
    root.close();
  }
}

/** Throws `VERIFY_MALFORMED`; returns why the check could not be made. */
function checkDatabase(path: string): string | undefined {
  const findings = integrityFindings(path);
  if (findings === 'ok') return undefined;
  if (OWN_FUNCTIONS.test(findings)) return findings;
  throw new SluiceError(
    'VERIFY_MALFORMED',
    `SQLite finds the database malformed: ${findings}`,
    'Its checksums are right, so that it was so when it was backed up: check the database itself with PRAGMA integrity_check',
  );
}

function integrityFindings(path: string): string {
  let db: Database.Database | undefined;
  try {
    db = new Database(path, { fileMustExist: true });
    const rows = db.pragma(`integrity_check(${FINDINGS_LIMIT})`) as { integrity_check: string }[];
    return rows.map((row) => row.integrity_check).join('; ');
  } catch (error) {
    return describeError(error);
  } finally {
    db?.close();
  }
}

try {
  setPriority(constants.priority.PRIORITY_BELOW_NORMAL);
} catch {
  // It runs as it is.
}
// A terminal's Ctrl-C goes to the whole group; when to end is the node's decision.
process.on('SIGINT', () => undefined);
process.on('SIGTERM', () => undefined);
process.once('disconnect', () => process.kill(process.pid, 'SIGKILL'));
process.once('message', (request: TrialRequest) => {
  void answer(request).then((sent) => process.send?.(sent));
});
