import { closeSync, ftruncateSync, openSync, readFileSync, renameSync, rmSync, writeSync } from '../disk/index.js';
import { bytesOf, nameOf } from './file-name.js';
import { FIRST_ID } from './protocol.js';

/**
 * The append-only file `<run>/nodes`: which node id has which name, readable by the next process on the same kernel
 * mount. It need not survive a power failure (the mount does not either), so it is never synced. One record a line,
 * tab-separated, names with \\, \t, \n and bytes that are no UTF-8 (\xHH) escaped:
 *
 *   n ID                    all ids below ID may have been given out
 *   b ID KIND PARENT NAME   ID is now NAME in folder PARENT (a new node, or a renamed one); what was there lost its name
 *   r ID PARENT NAME        ID is about to be renamed to NAME in folder PARENT: a b record follows, whatever came of it
 *   u ID PATH               unlinked while open: the data is in orphans/ID
 *   p ID BACKING            the kernel reads and writes its backing file by itself, which it knows by the number BACKING
 *   x ID                    gone
 */
export type NodeKind = 'file' | 'folder' | 'other' | 'virtual';

export interface NodeRecords {
  next(id: number): void;
  bound(id: number, kind: NodeKind, parentId: number, name: string): void;
  moving(id: number, parentId: number, name: string): void;
  orphaned(id: number, path: string): void;
  passed(id: number, backingId: number): void;
  gone(id: number): void;
}

/** Rewritten once it has this much more than it needs. */
const GARBAGE_LIMIT_BYTES = 4 << 20;

const NEWLINE = 0x0a;
/** No mount comes to it. With a larger one there would be none for the next node. */
const ID_LIMIT = 2 ** 48;

export class NodeLog {
  readonly #path: string;
  #fd: number;
  #bytes = 0;
  #liveBytes = 0;

  private constructor(path: string, fd: number) {
    this.#path = path;
    this.#fd = fd;
  }

  /** Starts an empty one. */
  static create(path: string): NodeLog {
    return new NodeLog(path, openSync(path, 'w'));
  }

  /** Reads what an earlier process wrote and goes on behind it. A torn last line is cut off. */
  static resume(path: string, records: NodeRecords): NodeLog {
    const bytes = readFileSync(path);
    const end = bytes.lastIndexOf(NEWLINE) + 1;
    for (const line of bytes.toString('utf8', 0, end).split('\n')) if (line !== '') readRecord(line, records);
    const log = new NodeLog(path, openSync(path, 'r+'));
    log.#bytes = end;
    ftruncateSync(log.#fd, log.#bytes);
    return log;
  }

  /** Throws a system error if there is no room; the log is then as it was. */
  append(records: string): void {
    try {
      this.#bytes += writeWhole(this.#fd, records, this.#bytes);
    } catch (error) {
      cut(this.#fd, this.#bytes);
      throw error;
    }
  }

  /** Whether it is time for `rewrite`. */
  get crowded(): boolean {
    return this.#bytes > GARBAGE_LIMIT_BYTES + 2 * this.#liveBytes;
  }

  /** Not before it is twice as long. */
  postpone(): void {
    this.#liveBytes = this.#bytes;
  }

  /** Puts `records`, which describe everything now, in the place of all earlier ones; or throws and changes nothing. */
  rewrite(records: string): void {
    const fresh = `${this.#path}.new`;
    const fd = openSync(fresh, 'w');
    try {
      this.#liveBytes = writeWhole(fd, records, 0);
      renameSync(fresh, this.#path);
    } catch (error) {
      closeSync(fd);
      rmSync(fresh, { force: true });
      throw error;
    }
    closeSync(this.#fd);
    this.#fd = fd;
    this.#bytes = this.#liveBytes;
  }

  close(): void {
    closeSync(this.#fd);
  }
}

export const nextRecord = (id: number): string => `n\t${id}\n`;
export const boundRecord = (id: number, kind: NodeKind, parentId: number, name: string): string =>
  `b\t${id}\t${kind}\t${parentId}\t${escapeName(name)}\n`;
export const movingRecord = (id: number, parentId: number, name: string): string =>
  `r\t${id}\t${parentId}\t${escapeName(name)}\n`;
export const orphanedRecord = (id: number, path: string): string => `u\t${id}\t${escapeName(path)}\n`;
export const passedRecord = (id: number, backingId: number): string => `p\t${id}\t${backingId}\n`;
export const goneRecord = (id: number): string => `x\t${id}\n`;

/** Returns the bytes, all of them. A disk that is nearly full takes a part first, and refuses the rest. */
function writeWhole(fd: number, text: string, position: number): number {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at, position + at);
  return bytes.length;
}

/** If this fails too, the next record is written over what is torn. */
function cut(fd: number, bytes: number): void {
  try {
    ftruncateSync(fd, bytes);
  } catch {
    // no newline ends it: it is no record
  }
}

/** What `records` could not have been told is damaged, and nobody's: it is left out. */
function readRecord(line: string, records: NodeRecords): void {
  const [type, idText, a, parentText, name] = line.split('\t');
  const id = Number(idText);
  if (!Number.isInteger(id) || id < FIRST_ID || id >= ID_LIMIT) return;
  if (type === 'n') records.next(id);
  else if (type === 'x') records.gone(id);
  else if (type === 'u' && a !== undefined) records.orphaned(id, unescapeName(a));
  else if (type === 'p') isBackingId(Number(a)) && records.passed(id, Number(a));
  else if (type === 'r') named(parentText, (found) => records.moving(id, Number(a), found));
  else if (type === 'b' && isKind(a)) named(name, (found) => records.bound(id, a, Number(parentText), found));
}

/** Passes on a name in a folder, if it is no way out of it. */
function named(text: string | undefined, take: (name: string) => void): void {
  const name = unescapeName(text ?? '');
  if (!/^\.{0,2}$|[/\0]/.test(name)) take(name);
}

const isBackingId = (id: number): boolean => Number.isInteger(id) && id > 0 && id < 2 ** 31;

function isKind(text: string | undefined): text is NodeKind {
  return text === 'file' || text === 'folder' || text === 'other' || text === 'virtual';
}

function escapeName(name: string): string {
  if (!/[\\\t\n\p{Surrogate}]/u.test(name)) return name;
  const escaped = name.replaceAll('\\', '\\\\').replaceAll('\t', '\\t').replaceAll('\n', '\\n');
  return escaped.replace(/\p{Surrogate}/gu, (part) => `\\x${bytesOf(part).toString('hex')}`);
}

function unescapeName(text: string): string {
  if (!text.includes('\\')) return text;
  return text.replace(/\\(x..|.)/g, (_, code: string) => {
    if (code.length > 1) return nameOf(Buffer.from(code.slice(1), 'hex'));
    return code === 't' ? '\t' : code === 'n' ? '\n' : code;
  });
}
