import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RECORD_HEADER_SIZE } from '../../../src/database/log-segment.js';
import type { ReadRecord } from '../../../src/disk/trace.js';
import { decodeHeader, encodeLtx, formatPosition, type Position, parsePosition } from '../../../src/ltx/index.js';
import { parseDatabaseHeader } from '../../../src/sqlite/index.js';
import { Random } from '../../database/support/random.js';
import { makeChoice, type Tree, treeOf } from './crash-state.js';
import { DiskModel } from './disk-model.js';
import type { PrimaryMark } from './promise.js';
import { contentOf } from './verdict.js';

/** The choice of a crash state that has all that was written. */
const EVERYTHING = 1;

/** A log's file as it grows. */
interface LogFile {
  readonly db: string;
  content: Buffer;
}

/**
 * The primary's side of a replica's trace: the transactions that came, as the replica wrote them to its logs, and where all
 * databases are at the end.
 */
export class History {
  /** LTX by database and the position before it. */
  private readonly transactions = new Map<string, Uint8Array>();
  private readonly positions = new Set<string>();
  private readonly spooledPositions = new Set<string>();
  private readonly last = new Map<string, Position>();
  private readonly snapshots = new Map<string, Uint8Array>();
  private readonly folders = new Map<number, string>();
  private readonly logs = new Map<number, LogFile>();

  constructor(records: readonly ReadRecord[]) {
    const model = new DiskModel();
    for (const [index, record] of records.entries()) {
      model.take(record, index);
      this.take(record);
    }
    const tree = treeOf(model.root, makeChoice(model, EVERYTHING, new Random(0)));
    for (const [name, position] of this.last) this.snapshots.set(name, snapshotOf(tree, name, position));
  }

  /** Where the primary is at the end; undefined if it has no such database. */
  lastOf(name: string): Position | undefined {
    return this.last.get(name);
  }

  /** Whether the primary was there. */
  has(name: string, position: Position): boolean {
    return this.positions.has(keyOf(name, position)) || this.spooledPositions.has(formatPosition(position));
  }

  /** The primary's transaction after this position; undefined if it is not known here, or there is none. */
  next(name: string, position: Position): Uint8Array | undefined {
    return this.transactions.get(keyOf(name, position));
  }

  /** All of a database, as it is at the end. */
  snapshotOf(name: string): Uint8Array {
    return this.snapshots.get(name)!;
  }

  private take(record: ReadRecord): void {
    switch (record.op) {
      case 'mkdir':
        this.folders.set(record.file, decodeURIComponent(record.name));
        return;
      case 'create':
        if (record.label === 'log.create')
          this.logs.set(record.file, { db: this.folders.get(record.folder)!, content: Buffer.alloc(0) });
        return;
      case 'write': {
        const log = this.logs.get(record.file);
        if (log !== undefined) this.wroteLog(log, record.at, record.content);
        else if (record.label === 'spool.write' && record.at === 0) this.spooled(record.content);
        return;
      }
      case 'mark': {
        const { primaryAt } = JSON.parse(record.text) as Partial<PrimaryMark>;
        for (const [name, text] of Object.entries(primaryAt ?? {})) {
          const position = parsePosition(text);
          this.last.set(name, position);
          this.positions.add(keyOf(name, position));
        }
        return;
      }
      default:
    }
  }

  /** A write is one or more whole records, a piece of a large one, or, when all of that is there, its header. */
  private wroteLog(log: LogFile, at: number, content: Buffer): void {
    const size = Math.max(log.content.length, at + content.length);
    if (size > log.content.length) log.content = Buffer.concat([log.content, Buffer.alloc(size - log.content.length)]);
    content.copy(log.content, at);
    for (let start = at; start < at + content.length && log.content.toString('latin1', start, start + 4) === 'SLG1'; ) {
      const end = start + RECORD_HEADER_SIZE + log.content.readUInt32BE(start + 4);
      this.took(log.db, Buffer.from(log.content.subarray(start + RECORD_HEADER_SIZE, end)));
      start = end;
    }
  }

  /** A snapshot, or a large transaction, which will be in the log too. Whose it is is not known yet. */
  private spooled(content: Buffer): void {
    const { maxTxid, postApply } = decodeHeader(content);
    this.spooledPositions.add(formatPosition({ txid: maxTxid, checksum: postApply }));
  }

  private took(db: string, ltx: Buffer): void {
    const { minTxid, maxTxid, preApply, postApply } = decodeHeader(ltx);
    const before = minTxid === 1 ? undefined : { txid: minTxid - 1, checksum: preApply };
    if (before !== undefined) this.transactions.set(keyOf(db, before), ltx);
    if (before !== undefined) this.positions.add(keyOf(db, before));
    this.positions.add(keyOf(db, { txid: maxTxid, checksum: postApply }));
  }
}

const keyOf = (name: string, position: Position): string => `${name} ${formatPosition(position)}`;

function snapshotOf(tree: Tree, name: string, { txid, checksum }: Position): Uint8Array {
  const files = tree.get('files') as Tree;
  const folder = mkdtempSync(join(tmpdir(), 'sluice-history-'));
  try {
    const path = join(folder, 'db');
    for (const suffix of ['', '-wal', '-journal']) {
      const file = files.get(name + suffix);
      if (file !== undefined && !(file instanceof Map)) writeFileSync(path + suffix, file.content);
    }
    const scratch = join(folder, 'scratch');
    mkdirSync(scratch);
    const held = contentOf(path, name, scratch);
    const wanted = formatPosition({ txid, checksum });
    if (held === undefined || !wanted.endsWith(held.checksum)) {
      throw new Error(`${name}: the primary is at ${wanted}, and the replica has ${held?.checksum}`);
    }
    const bytes = readFileSync(join(scratch, 'copy'));
    const { pageSize } = parseDatabaseHeader(bytes)!;
    const pages = Array.from({ length: bytes.length / pageSize }, (_, i) => ({
      pgno: i + 1,
      data: bytes.subarray(i * pageSize, (i + 1) * pageSize),
    }));
    const header = { pageSize, commit: pages.length, minTxid: 1, maxTxid: txid, timestampMs: 1 };
    return encodeLtx({ ...header, preApply: 0n, postApply: checksum }, pages);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
