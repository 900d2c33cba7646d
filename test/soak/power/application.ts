import { rmSync } from 'node:fs';
import Sqlite from 'better-sqlite3';
import { appendMark } from '../../../src/disk/trace.js';
import type { ClusterNode } from '../../support/cluster.js';
import { transact } from './content.js';
import type { Mark, Promised } from './promise.js';

export interface ApplicationOptions {
  readonly journal: 'wal' | 'delete' | 'truncate' | 'persist';
  readonly synchronous: 'NORMAL' | 'FULL' | 'EXTRA';
  readonly promise: Promised;
  /** How much some transactions write, see content.ts. */
  readonly big?: number;
  readonly pageSize?: number;
  readonly autoCheckpoint?: number;
  /** Pages: fewer than a transaction changes, and it spills. */
  readonly cacheSize?: number;
}

/** An application that works with one database of the mount, and says in the trace what it did. */
export class Application {
  db!: Sqlite.Database;
  generation = 0;
  n = 0;

  constructor(
    private readonly node: ClusterNode,
    private readonly trace: string,
    readonly name: string,
    private o: ApplicationOptions,
  ) {}

  get path(): string {
    return this.node.path(this.name);
  }

  /** A new file. */
  make(options = this.o): this {
    this.generation++;
    this.n = 0;
    this.mark('made');
    return this.open(options);
  }

  open(options: ApplicationOptions = this.o): this {
    this.o = options;
    this.db = new Sqlite(this.path, { timeout: 20_000 });
    if (this.n === 0 && options.pageSize !== undefined) this.db.pragma(`page_size = ${options.pageSize}`);
    this.db.pragma(`synchronous = ${options.synchronous}`);
    this.db.pragma(`journal_mode = ${options.journal}`);
    if (options.autoCheckpoint !== undefined) this.db.pragma(`wal_autocheckpoint = ${options.autoCheckpoint}`);
    if (options.cacheSize !== undefined) this.db.pragma(`cache_size = ${options.cacheSize}`);
    return this;
  }

  close(): this {
    this.db.close();
    return this;
  }

  commit(times = 1): this {
    for (let i = 0; i < times; i++) {
      this.begin();
      this.end();
    }
    return this;
  }

  /** The first half of `commit`. */
  begin(): void {
    this.n++;
    this.mark('begun');
    this.db.exec('BEGIN IMMEDIATE');
    transact(this.db, this.name, this.generation, this.n, this.o.big ?? 0);
  }

  end(): void {
    this.db.exec('COMMIT');
    this.mark('committed');
  }

  /** One transaction of this and of `other`, which is attached; the caller marks it. */
  commitBoth(other: Application): void {
    this.db.exec('BEGIN IMMEDIATE');
    transact(this.db, this.name, this.generation, this.n, 0);
    transact(this.db, other.name, other.generation, other.n, 0, 'other');
    this.db.exec('COMMIT');
  }

  checkpoint(mode: 'PASSIVE' | 'FULL' | 'RESTART' | 'TRUNCATE'): this {
    const [row] = this.db.pragma(`wal_checkpoint(${mode})`) as { busy: number; log: number; checkpointed: number }[];
    if (row!.busy === 0 && row!.log === row!.checkpointed) this.mark('durable');
    return this;
  }

  vacuum(): this {
    this.db.exec('VACUUM');
    return this;
  }

  drop(): this {
    this.db.close();
    this.mark('dropping');
    for (const suffix of ['-wal', '-shm', '-journal', '']) rmSync(this.node.path(this.name + suffix), { force: true });
    this.mark('dropped');
    return this;
  }

  mark(what: Mark['what']): void {
    const { name: db, generation, n, o } = this;
    appendMark(this.trace, JSON.stringify({ db, generation, what, n, promise: o.promise } satisfies Mark));
  }
}
