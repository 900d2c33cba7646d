import { randomBytes } from 'node:crypto';

/** With what SQLite may make beside it while it checks the file. */
const RESTORING = /^\.sluice-restore-[0-9a-f]{8}\.tmp(-wal|-shm|-journal)?$/;

/** What a restore calls a file until it is whole: `.sluice-restore-<8 hex digits>.tmp`, no database under a mount either. */
export function restoringName(): string {
  return `.sluice-restore-${randomBytes(4).toString('hex')}.tmp`;
}

/** Whether a path's last part is such a name. */
export function isRestoring(path: string): boolean {
  return RESTORING.test(path.slice(path.lastIndexOf('/') + 1));
}
