import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { closeSync, mkdirSync, openSync, rmSync } from '../disk/index.js';

/**
 * Which databases have changes in their file that are neither in a journal, nor in a WAL, nor in the log: made by `cp`,
 * or with journal_mode MEMORY or OFF, until main has logged them. An empty file each, so that the process may die at any
 * moment: with the mark there, the database is read whole at the next start. Not synced: after a crash of the machine
 * nothing is believed anyway.
 */
export class UnloggedMarks {
  constructor(readonly folder: string) {
    mkdirSync(folder, { recursive: true });
  }

  /** Throws the system's error. */
  set(name: string): void {
    closeSync(openSync(this.path(name), 'a'));
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
