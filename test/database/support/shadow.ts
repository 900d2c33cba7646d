import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { WAL_FRAME_HEADER_SIZE, WAL_HEADER_SIZE } from '../../../src/sqlite/index.js';
import { contentChecksum } from '../../support/cluster.js';
import type { MountBench } from './mount-bench.js';

const EMPTY = Buffer.alloc(0);

/**
 * A real SQLite database in a plain folder, whose files' changes are done again, write by write, on a bench: after each
 * statement the -wal's, then the database file's, as commits and checkpoints have them; a rollback transaction's pages
 * within a journal that is there while they are written.
 */
export class Shadow {
  private readonly folder = mkdtempSync(join(tmpdir(), 'sluice-shadow-'));
  readonly path = join(this.folder, 'db');
  readonly db: Sqlite.Database;
  private wal: Buffer = EMPTY;
  private main: Buffer = EMPTY;

  constructor(
    private readonly bench: MountBench,
    readonly name: string,
    mode: 'wal' | 'delete',
    pageSize = 1024,
  ) {
    this.db = new Sqlite(this.path);
    this.db.pragma(`page_size = ${pageSize}`);
    this.db.pragma(`journal_mode = ${mode}`);
    this.db.pragma('wal_autocheckpoint = 0');
  }

  async run(sql: string): Promise<void> {
    this.db.exec(sql);
    await this.follow();
  }

  /** The checksum that the bench must have when it is quiet. */
  content(): string {
    return contentChecksum(this.path);
  }

  /** Of its WAL as it is followed. */
  frames(): number {
    if (this.wal.length === 0) return 0;
    return Math.floor((this.wal.length - WAL_HEADER_SIZE) / (WAL_FRAME_HEADER_SIZE + this.wal.readUInt32BE(8)));
  }

  /** Does on the bench what happened here since. */
  async follow(): Promise<void> {
    this.bench.file(this.name);
    const wal = existsSync(`${this.path}-wal`) ? readFileSync(`${this.path}-wal`) : EMPTY;
    const main = readFileSync(this.path);
    if (wal.length > 0 || this.wal.length > 0) {
      await this.followWal(wal);
      await this.followPages(main);
    } else if (!main.equals(this.main)) await this.followRollback(main);
    this.wal = wal;
    this.main = main;
  }

  private async followWal(now: Buffer): Promise<void> {
    const path = `${this.name}-wal`;
    // A checkpoint that truncates is over with the database file before it touches the WAL.
    if (now.length < this.wal.length) {
      await this.followPages(readFileSync(this.path));
      await this.bench.resize(path, 0);
      this.wal = EMPTY;
    }
    if (now.length === 0) return;
    const restarted = !now.subarray(0, WAL_HEADER_SIZE).equals(this.wal.subarray(0, WAL_HEADER_SIZE));
    if (restarted) await this.bench.write(path, 0, now.subarray(0, WAL_HEADER_SIZE));
    const frameSize = WAL_FRAME_HEADER_SIZE + now.readUInt32BE(8);
    for (let at = WAL_HEADER_SIZE; at + frameSize <= now.length; at += frameSize) {
      if (now.subarray(at, at + frameSize).equals(this.wal.subarray(at, at + frameSize))) continue;
      await this.bench.write(path, at, now.subarray(at, at + WAL_FRAME_HEADER_SIZE));
      await this.bench.write(
        path,
        at + WAL_FRAME_HEADER_SIZE,
        now.subarray(at + WAL_FRAME_HEADER_SIZE, at + frameSize),
      );
    }
  }

  private async followRollback(now: Buffer): Promise<void> {
    const journal = `${this.name}-journal`;
    await this.bench.write(
      journal,
      0,
      Buffer.from('d9d505f920a163d7000000000000000000000000000002000000040000000000', 'hex'),
    );
    await this.followPages(now);
    await this.bench.unlink(journal);
  }

  private async followPages(now: Buffer): Promise<void> {
    const size = now.length === 0 ? 0 : now.readUInt16BE(16) === 1 ? 65536 : now.readUInt16BE(16);
    for (let at = 0; at < now.length; at += size) {
      const page = now.subarray(at, at + size);
      if (!page.equals(this.main.subarray(at, at + size))) await this.bench.write(this.name, at, page);
    }
    if (now.length < this.main.length) await this.bench.resize(this.name, now.length);
    this.main = now;
  }

  close(): void {
    this.db.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
