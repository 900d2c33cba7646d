import * as fs from 'node:fs';
import * as promises from 'node:fs/promises';
import type { Disk, Later } from './types.js';
import { watch } from './watch.js';

/**
 * The node's own I/O on its data folder: node:fs's functions by their names, and nothing between. Only where a process is
 * started with SLUICE_DISK_ROOT are they others, for its whole life: each call on that folder is then recorded in the file
 * SLUICE_DISK_TRACE (trace.ts), and fails as the file SLUICE_DISK_FAULTS says (faults.ts).
 */
const { SLUICE_DISK_ROOT: root, SLUICE_DISK_TRACE: trace, SLUICE_DISK_FAULTS: faults } = process.env;
// No await here: a thread that is terminated while its modules wait ends the whole process in V8.
const watched = root === undefined ? undefined : watch(root, trace, faults);
const disk: Omit<Disk, 'later'> = watched?.disk ?? fs;

export const {
  openSync,
  closeSync,
  readSync,
  writeSync,
  ftruncateSync,
  fsyncSync,
  fdatasyncSync,
  fsync,
  fdatasync,
  readFileSync,
  writeFileSync,
  copyFileSync,
  renameSync,
  linkSync,
  symlinkSync,
  unlinkSync,
  mkdirSync,
  rmdirSync,
  rmSync,
  readdirSync,
  chmodSync,
  fchmodSync,
  fchownSync,
  lchownSync,
  futimesSync,
  lutimesSync,
} = disk;

/** Those of node:fs/promises. */
export const later: Later = watched?.disk.later ?? promises;

/** Around what SQLite does to a database, its journal and its WAL in this process, past these functions. */
export const bySqlite: (path: string, work: () => void) => void = watched?.bySqlite ?? ((_path, work) => work());
