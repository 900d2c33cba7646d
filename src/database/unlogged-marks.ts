import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { closeSync, mkdirSync, openSync, rmSync } from '../disk/index.js';
import { syncFolder } from './durable-file.js';

/**
 * Which databases have changes in their file that are neither in a journal, nor in a WAL, nor in the log: made by `cp`,
 * or with journal_mode MEMORY or OFF, until main has logged them; or have lost their file. An empty file each, so that the
 * process may die at any moment: with the mark there, the database is read whole at the next start, and what the log has
 * beyond what the file is, is not written into it again.
 */
export class UnloggedMarks {
  constructor(readonly folder: string) {
    mkdirSync(folder, { recursive: true });
  }

  /** Throws the system's error. Not synced: after a crash of the machine what the file has is compared with the log anyway. */
  set(name: string): void {
    closeSync(openSync(this.path(name), 'a'));
  }

  /**
   * Durably: before another file takes the place of the database's. If that were known after a crash of the machine, and
   * this not, the new file would be taken for an early state of the old one where they are the same (two that are empty,
   * or a copy of last week's), and be brought forward to what was removed.
   */
  setDurably(name: string): void {
    this.set(name);
    syncFolder(this.folder);
  }

  clear(name: string): void {
    rmSync(this.path(name), { force: true });
  }

  has(name: string): boolean {
    return existsSync(this.path(name));
  }

  private path(name: string): string {
    return join(this.folder, createHash('sha256').update(name).digest('hex').slice(0, 32));
  }
}
