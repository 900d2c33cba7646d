import {
  closeSync,
  existsSync,
  fchmodSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmdirSync,
  rmSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import Sqlite from 'better-sqlite3';
import type { ClusterNode } from '../support/cluster.js';

/** What applications do to a mount, each in a way that makes the calls of some labels; and what they are told of errors. */
export class Steps {
  /** Rows of each database whose COMMIT returned. */
  readonly committed = new Map<string, number[]>();
  private errors: string[] = [];
  private turn = 0;

  constructor(private readonly node: ClusterNode) {}

  /** Does one; the errors that its calls returned, by their codes. */
  do(step: StepName): string[] {
    this.errors = [];
    this.turn++;
    this[step]();
    return this.errors;
  }

  wal(): void {
    this.insert('wal.db', 'wal', 3000);
  }

  rollback(): void {
    this.insert('rollback.db', 'delete', 3000);
  }

  /** journal_mode=OFF, whose changes are in no journal. */
  unlogged(): void {
    this.come(`off${this.turn}.db`, 'off');
  }

  /** A database that comes and goes. */
  passing(): void {
    this.come(`passing${this.turn}.db`, 'delete');
  }

  /** A copy of a database that is removed before it is whole, and goes on. */
  copying(): void {
    const source = readFileSync(this.node.backing('rollback.db'));
    const path = this.node.path(`copy${this.turn}.db`);
    const fd = this.try(() => openSync(path, 'w'));
    if (fd === undefined) return;
    const half = 4096;
    this.try(() => writeSync(fd, source, 0, half, 0));
    this.try(() => unlinkSync(path));
    this.try(() => writeSync(fd, source, half, source.length - half, half));
    this.try(() => closeSync(fd));
    if (existsSync(path)) this.try(() => this.check(path));
    this.quietly(() => rmSync(path, { force: true }));
  }

  private check(path: string): void {
    const db = new Sqlite(path, { readonly: true, timeout: 10_000 });
    try {
      if (db.pragma('integrity_check', { simple: true }) !== 'ok') throw new Error('the copy is damaged');
    } finally {
      db.close();
    }
  }

  private come(name: string, journal: string): void {
    this.insert(name, journal, 100);
    this.committed.delete(name);
    this.try(() => rmSync(this.node.path(name), { force: true }));
  }

  /** Each call on a file of this suffix, that was not looked up before. */
  files(suffix = ''): void {
    const { node } = this;
    const [first, second, target] = ['first', 'second', 'target'].map((name) => `${name}${this.turn}.db${suffix}`) as [
      string,
      string,
      string,
    ];
    writeFileSync(node.backing(first), Buffer.alloc(6000, 1));
    const fd = this.try(() => openSync(node.path(first), 'r+'));
    if (fd !== undefined) {
      this.try(() => readSync(fd, Buffer.alloc(100), 0, 100, 0));
      this.try(() => writeSync(fd, Buffer.alloc(100), 0, 100, 5000));
      this.try(() => ftruncateSync(fd, 3000));
      this.try(() => fchmodSync(fd, 0o600));
      this.try(() => fsyncSync(fd));
      this.try(() => closeSync(fd));
    }
    this.try(() => renameSync(node.path(first), node.path(second)));
    const open = this.try(() => openSync(node.path(target), 'w'));
    // Over one that is open: its data is kept under another name.
    this.try(() => renameSync(node.path(second), node.path(target)));
    if (open !== undefined) this.try(() => closeSync(open));
    this.try(() => unlinkSync(node.path(target)));
    for (const name of [first, second, target]) this.quietly(() => rmSync(node.path(name), { force: true }));
  }

  /** An open file gets another's name, or keeps it, and is removed. */
  replacing(): void {
    const [open, other] = ['open', 'other'].map((name) => this.node.path(`${name}${this.turn}.db`)) as [string, string];
    for (const path of [open, other]) writeFileSync(path, path);
    const fd = openSync(open, 'r+');
    this.try(() => renameSync(other, open));
    const renamed = this.errors.length;
    this.try(() => unlinkSync(open));
    // Removed, or gone before.
    const refused = this.errors.at(-1) !== 'ENOENT' && this.errors.length > renamed;
    if (!refused && existsSync(open)) this.errors.push('ITS NAME IS STILL THERE');
    const data = Buffer.alloc(1000);
    this.try(() => writeSync(fd, '!', 0));
    this.try(() => readSync(fd, data, 0, data.length, 0));
    if (data.toString('utf8', 1, open.length) !== open.slice(1)) this.errors.push('ITS DATA IS NOT THERE');
    this.try(() => closeSync(fd));
    for (const path of [open, other]) this.quietly(() => rmSync(path, { force: true }));
  }

  wals(): void {
    this.files('-wal');
  }

  journals(): void {
    this.files('-journal');
  }

  shms(): void {
    this.files('-shm');
  }

  superJournals(): void {
    this.files('-mj0A1B2C9D3');
  }

  folders(): void {
    const [a, b] = [`folder${this.turn}`, `moved${this.turn}`].map((name) => this.node.path(name)) as [string, string];
    this.try(() => mkdirSync(a, 0o700));
    this.try(() => readdirSync(a));
    this.try(() => renameSync(a, b));
    const fd = this.try(() => openSync(b, 'r'));
    if (fd !== undefined) {
      this.try(() => fchmodSync(fd, 0o755));
      this.try(() => fsyncSync(fd));
      closeSync(fd);
    }
    this.try(() => rmdirSync(b));
    for (const path of [a, b]) if (existsSync(path)) this.quietly(() => rmdirSync(path));
  }

  /** A file that has no name any more, and is open. */
  orphan(): void {
    const path = this.node.path(`orphan${this.turn}.db`);
    const fd = openSync(path, 'w+');
    writeSync(fd, Buffer.alloc(100));
    unlinkSync(path);
    this.try(() => writeSync(fd, Buffer.alloc(5000), 0, 5000, 8192));
    this.try(() => readSync(fd, Buffer.alloc(10), 0, 10, 3));
    this.try(() => ftruncateSync(fd, 50));
    this.try(() => fchmodSync(fd, 0o600));
    this.try(() => fsyncSync(fd));
    this.try(() => closeSync(fd));
  }

  private insert(name: string, journal: string, size: number): void {
    const rows = this.committed.get(name) ?? [];
    this.committed.set(name, rows);
    this.try(() => {
      const db = new Sqlite(this.node.path(name), { timeout: 10_000 });
      try {
        db.pragma('synchronous = FULL');
        db.pragma(`journal_mode = ${journal}`);
        db.exec('CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, body BLOB)');
        db.prepare('INSERT OR REPLACE INTO t VALUES (?, randomblob(?))').run(this.turn, size);
        rows.push(this.turn);
        db.exec('UPDATE t SET body = randomblob(10) WHERE length(body) > 1000');
        if (journal === 'wal') db.pragma('wal_checkpoint(TRUNCATE)');
      } finally {
        db.close();
      }
    });
  }

  private try<T>(call: () => T): T | undefined {
    try {
      return call();
    } catch (error) {
      const { code, errno } = error as NodeJS.ErrnoException;
      this.errors.push(code ?? String(errno));
      return undefined;
    }
  }

  private quietly(call: () => void): void {
    const { length } = this.errors;
    this.try(call);
    this.errors.length = length;
  }
}

export type StepName =
  | 'wal'
  | 'rollback'
  | 'unlogged'
  | 'passing'
  | 'copying'
  | 'files'
  | 'replacing'
  | 'wals'
  | 'journals'
  | 'shms'
  | 'superJournals'
  | 'folders'
  | 'orphan';
