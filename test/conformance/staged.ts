import { chmodSync, copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freshFolder } from '../support/cluster.js';
import { letOthersThrough } from './unprivileged.js';

const SQLITE_VERSION = '3.40.1';
const MAX_LOG_NAME = 80;
/** Of SQLite's tests these are two thirds, and not wanted. */
const NOT_STAGED = /^fuzzdata\d+\.db$/;
const OPEN_TO_ALL = 0o777;

/** The folder of this file's source: the lists, baselines and scripts are not compiled. */
export const DATA = fileURLToPath(new URL('../../../test/conformance/', import.meta.url));
/** The project's folder. */
export const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

/** What scripts/*-tools.mjs install into. */
const TOOLS = process.env.SLUICE_TOOLS || join(homedir(), '.cache', 'sluice-tools');

const SQLITE = join(TOOLS, 'sqlite-conformance', SQLITE_VERSION);

/** Whether scripts/sqlite-tools.mjs has built a program. */
export function hasSqliteProgram(name: string): boolean {
  return existsSync(join(SQLITE, 'build', name));
}

/** The folder of what scripts/conformance-tools.mjs installed; undefined if it could not. */
export function installed(name: string): string | undefined {
  const folder = join(TOOLS, 'conformance', name);
  return existsSync(folder) ? folder : undefined;
}

/** Copies of SQLite's test programs and scripts, where every user can read them, and room for logs. */
export class Staged {
  readonly root = freshFolder('conformance');
  readonly tests = join(this.root, 'source', 'test');
  readonly preamble = join(this.root, 'preamble.tcl');
  #helpers: string | undefined;
  #logs = 0;

  constructor() {
    letOthersThrough(this.root);
    mkdirSync(join(this.root, 'logs'));
    mkdirSync(join(this.root, 'build'));
    copyFileSync(join(DATA, 'preamble.tcl'), this.preamble);
    // Suites of others do without SQLite's.
    for (const folder of existsSync(SQLITE) ? ['test', 'mptest'] : []) {
      cpSync(join(SQLITE, 'source', folder), join(this.root, 'source', folder), {
        recursive: true,
        filter: (path) => !NOT_STAGED.test(basename(path)),
      });
    }
  }

  /** Path of one of SQLite's programs. */
  program(name: string): string {
    const path = join(this.root, 'build', name);
    if (!existsSync(path)) copyFileSync(join(SQLITE, 'build', name), path);
    return path;
  }

  /** One of mptester's scripts. */
  mptest(name: string): string {
    return join(this.root, 'source', 'mptest', `${name}.test`);
  }

  /** A copy of an installed folder. */
  copy(folder: string): string {
    const path = join(this.root, basename(folder));
    if (!existsSync(path)) cpSync(folder, path, { recursive: true });
    return path;
  }

  /** An empty folder, open to all users, for what tests write besides databases. */
  helperFolder(): string {
    if (this.#helpers !== undefined) rmSync(this.#helpers, { recursive: true, force: true });
    this.#helpers = mkdtempSync(join(this.root, 'helpers-'));
    chmodSync(this.#helpers, OPEN_TO_ALL);
    return this.#helpers;
  }

  /** Where the output of the next test goes. */
  logFile(name: string): string {
    this.#logs++;
    const words = name.replace(/[^\w.-]+/g, '_').slice(0, MAX_LOG_NAME);
    return join(this.root, 'logs', `${String(this.#logs).padStart(4, '0')}-${words}.log`);
  }

  /** Copies all output so far to a folder. */
  keepLogs(folder: string): void {
    cpSync(join(this.root, 'logs'), folder, { recursive: true });
  }
}
