import { appendFileSync, closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import type { FileId } from './types.js';

/**
 * A trace: what all threads of a node, and the nodes before it, did to a data folder, in the order in which it was done.
 * A record is appended once the call has returned, so that a sync whose start stands behind a write has it, and one that
 * does not rely on another's end may stand before it.
 *
 *     u32 bytes of the record, little-endian    u32 bytes of the JSON    JSON    content of a write
 */
export type TraceRecord =
  | { readonly op: 'root'; readonly file: FileId }
  | { readonly op: 'create' | 'mkdir' | 'link'; readonly folder: FileId; readonly name: string; readonly file: FileId }
  | {
      readonly op: 'symlink';
      readonly folder: FileId;
      readonly name: string;
      readonly file: FileId;
      readonly target: string;
    }
  | { readonly op: 'unlink' | 'rmdir'; readonly folder: FileId; readonly name: string }
  | {
      readonly op: 'rename';
      readonly folder: FileId;
      readonly name: string;
      readonly toFolder: FileId;
      readonly toName: string;
    }
  | { readonly op: 'write'; readonly file: FileId; readonly at: number; readonly mtimeMs: number }
  | { readonly op: 'truncate'; readonly file: FileId; readonly size: number; readonly mtimeMs: number }
  | { readonly op: 'sync'; readonly file: FileId; readonly id: string }
  | { readonly op: 'synced'; readonly id: string }
  | { readonly op: 'mark'; readonly text: string };

/** As it is read: `content` of a write; `label` and `thread` of whoever did it. */
export type ReadRecord = TraceRecord & { readonly content: Buffer; readonly label: string; readonly thread: string };

const HEADER_BYTES = 8;
const NOTHING = Buffer.alloc(0);

/** Appends records to a trace; each is one write(2). */
export class TraceWriter {
  readonly #fd: number;

  constructor(path: string) {
    this.#fd = openSync(path, 'a');
  }

  append(record: TraceRecord, label: string, thread: string, content: Uint8Array = NOTHING): void {
    writeSync(this.#fd, encode({ ...record, label, thread }, content));
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** What an application says, e.g. that its COMMIT returned. */
export function appendMark(path: string, text: string): void {
  appendFileSync(path, encode({ op: 'mark', text, label: '', thread: 'application' }, NOTHING));
}

/** All whole records of a trace. */
export function readTrace(path: string): ReadRecord[] {
  const bytes = readFileSync(path);
  const records: ReadRecord[] = [];
  for (let at = 0; at + HEADER_BYTES <= bytes.length; ) {
    const length = bytes.readUInt32LE(at);
    if (at + length > bytes.length) break;
    const start = at + HEADER_BYTES;
    const end = start + bytes.readUInt32LE(at + 4);
    const record = JSON.parse(bytes.toString('utf8', start, end)) as Omit<ReadRecord, 'content'>;
    records.push({ ...record, content: bytes.subarray(end, at + length) } as ReadRecord);
    at += length;
  }
  return records;
}

function encode(record: TraceRecord & { label: string; thread: string }, content: Uint8Array): Buffer {
  const json = Buffer.from(JSON.stringify(record));
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32LE(HEADER_BYTES + json.length + content.length, 0);
  header.writeUInt32LE(json.length, 4);
  return Buffer.concat([header, json, content]);
}
