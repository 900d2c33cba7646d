import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { rmSync } from '../disk/index.js';
import type { DataFolder } from './data-folder.js';
import { type DatabaseState, StateFile } from './state-file.js';
import { nextTurn } from './wal-file.js';

/**
 * How long the last position of a dropped database is kept. If its name comes back within that time its TXIDs go on, for
 * replicas and backups that knew it; after it they begin at 1.
 */
export const KEEP_DROPPED_MS = 30 * 24 * 60 * 60 * 1000;
/** How often what is kept is looked through. */
const INTERVAL_MS = 24 * 60 * 60 * 1000;
/** Folders between two turns of the event loop. */
const SLICE = 64;

/** Whether there is no file of it, and was none when the last process ended: nothing is to be recovered, or told. */
export function isLongGone(folder: DataFolder, name: string): boolean {
  if (existsSync(join(folder.files, name))) return false;
  try {
    const state = stateOf(folder, name);
    return state === undefined || state.dropped;
  } catch {
    return false; // who opens it will say what is wrong
  }
}

/** What is kept of dropped databases, and for how long. */
export class DroppedDatabases {
  private dueMs = 0;

  /** `isOpen`: those that this process has in use. */
  constructor(
    private readonly folder: DataFolder,
    private readonly isOpen: (name: string) => boolean,
    private readonly warn: (name: string, message: string, error: unknown) => void,
  ) {}

  /** Call often; it does something once a day. */
  prune(nowMs: number): void {
    if (nowMs < this.dueMs) return;
    this.dueMs = nowMs + INTERVAL_MS;
    forgetDropped(this.folder, this.isOpen, nowMs).catch((error: unknown) =>
      this.warn('', 'what is kept of dropped databases could not be looked through', error),
    );
  }
}

/** Removes what is kept of databases that were dropped long ago. `isOpen`: those that this process has in use. */
export async function forgetDropped(
  folder: DataFolder,
  isOpen: (name: string) => boolean,
  nowMs: number,
): Promise<string[]> {
  const forgotten: string[] = [];
  let seen = 0;
  for (const name of folder.knownNames(() => undefined)) {
    if (++seen % SLICE === 0) await nextTurn();
    if (isOpen(name) || existsSync(join(folder.files, name))) continue;
    const meta = folder.metaOf(name);
    const written = statSync(join(meta, 'state'), { throwIfNoEntry: false });
    // It was written last when the database was dropped.
    if (nowMs - (written ?? statSync(meta)).mtimeMs < KEEP_DROPPED_MS) continue;
    const state = stateOf(folder, name);
    if (state !== undefined && !state.dropped) continue;
    rmSync(meta, { recursive: true, force: true });
    forgotten.push(name);
  }
  return forgotten;
}

function stateOf(folder: DataFolder, name: string): DatabaseState | undefined {
  const file = new StateFile(join(folder.metaOf(name), 'state'));
  file.close();
  return file.found;
}
