import { fstatSync } from 'node:fs';
import { closeSync, openSync, readSync } from '../disk/index.js';
import {
  type DatabaseHeader,
  databasePageCount,
  HEADER_SIZE,
  hasJournalMagic,
  parseDatabaseHeader,
} from '../sqlite/index.js';
import { openToRead } from './readable-file.js';
import type { WalFile } from './wal-file.js';

/** The pages of a database as they are now: its file, with the newest frames of a WAL laid over it. */
export class PageImages {
  readonly fd: number;

  constructor(
    path: string,
    readonly pageSize: number,
    private readonly wal?: { readonly file: WalFile; readonly newest: ReadonlyMap<number, number> } | undefined,
  ) {
    this.fd = openSync(path, 'r');
  }

  /** Reads one page; what lies behind the end of the file is zeros, as for SQLite. */
  read(pageNumber: number, target: Buffer, targetOffset: number): void {
    const frame = this.wal?.newest.get(pageNumber);
    if (frame !== undefined) this.wal!.file.readPage(target, targetOffset, frame);
    else readFilePage(this.fd, this.pageSize, pageNumber, target, targetOffset);
  }

  close(): void {
    closeSync(this.fd);
  }
}

export function readFilePage(
  fd: number,
  pageSize: number,
  pageNumber: number,
  target: Buffer,
  targetOffset: number,
): void {
  const read = readSync(fd, target, targetOffset, pageSize, (pageNumber - 1) * pageSize);
  if (read < pageSize) target.fill(0, targetOffset + read, targetOffset + pageSize);
}

export interface FileFacts {
  readonly header: DatabaseHeader;
  /** As SQLite counts them; a file that is shorter than it says, which SQLite takes for damaged, has those that are there. */
  readonly pageCount: number;
}

/** What the database file itself says; undefined if there is none, or it is not a database. */
export function databaseFileFacts(path: string): FileFacts | undefined {
  const fd = openToRead(path);
  if (fd === undefined) return undefined;
  try {
    const stat = fstatSync(fd);
    const head = Buffer.alloc(HEADER_SIZE);
    if (readSync(fd, head, 0, HEADER_SIZE, 0) < HEADER_SIZE) return undefined;
    const header = parseDatabaseHeader(head);
    if (header === undefined) return undefined;
    return {
      header,
      pageCount: Math.min(databasePageCount(header, stat.size), Math.ceil(stat.size / header.pageSize)),
    };
  } finally {
    closeSync(fd);
  }
}

/** Whether there is a journal that the next opener plays back. */
export function hasHotJournal(path: string): boolean {
  const fd = openToRead(`${path}-journal`);
  if (fd === undefined) return false;
  try {
    const head = Buffer.alloc(8);
    return readSync(fd, head, 0, 8, 0) === 8 && hasJournalMagic(head);
  } finally {
    closeSync(fd);
  }
}
