import { closeSync, ftruncateSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';

/**
 * The append-only file `<run>/nodes`: which node id has which name, readable by the next process on the same kernel
 * mount. It need not survive a power failure (the mount does not either), so it is never synced. One record a line,
 * tab-separated, names with \\, \t and \n escaped:
 *
 *   n ID                    all ids below ID may have been given out
 *   b ID KIND PARENT NAME   ID is now NAME in folder PARENT (a new node, or a renamed one); what was there lost its name
 *   u ID PATH               unlinked while open: the data is in orphans/ID
 *   x ID                    gone
 */
export type NodeKind = 'file' | 'folder' | 'other' | 'virtual';

export interface NodeRecords {
  next(id: number): void;
  bound(id: number, kind: NodeKind, parentId: number, name: string): void;
  orphaned(id: number, path: string): void;
  gone(id: number): void;
}

/** Rewritten once it has this much more than it needs. */
const GARBAGE_LIMIT_BYTES = 4 << 20;

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
    const text = readFileSync(path, 'utf8');
    const end = text.lastIndexOf('\n') + 1;
    for (const line of text.slice(0, end).split('\n')) if (line !== '') readRecord(line, records);
    const log = new NodeLog(path, openSync(path, 'a'));
    log.#bytes = Buffer.byteLength(text.slice(0, end));
    ftruncateSync(log.#fd, log.#bytes);
    return log;
  }

  append(records: string): void {
    this.#bytes += Buffer.byteLength(records);
    writeSync(this.#fd, records);
  }

  /** Whether it is time for `rewrite`. */
  get crowded(): boolean {
    return this.#bytes > GARBAGE_LIMIT_BYTES + 2 * this.#liveBytes;
  }

  /** Puts `records`, which describe everything now, in the place of all earlier ones. */
  rewrite(records: string): void {
    const fresh = `${this.#path}.new`;
    const fd = openSync(fresh, 'w');
    writeSync(fd, records);
    renameSync(fresh, this.#path);
    closeSync(this.#fd);
    this.#fd = fd;
    this.#bytes = Buffer.byteLength(records);
    this.#liveBytes = this.#bytes;
  }

  close(): void {
    closeSync(this.#fd);
  }
}

export const nextRecord = (id: number): string => `n\t${id}\n`;
export const boundRecord = (id: number, kind: NodeKind, parentId: number, name: string): string =>
  `b\t${id}\t${kind}\t${parentId}\t${escapeName(name)}\n`;
export const orphanedRecord = (id: number, path: string): string => `u\t${id}\t${escapeName(path)}\n`;
export const goneRecord = (id: number): string => `x\t${id}\n`;

function readRecord(line: string, records: NodeRecords): void {
  const [type, idText, a, parentText, name] = line.split('\t');
  const id = Number(idText);
  if (!Number.isSafeInteger(id)) return;
  if (type === 'n') records.next(id);
  else if (type === 'x') records.gone(id);
  else if (type === 'u' && a !== undefined) records.orphaned(id, unescapeName(a));
  else if (type === 'b' && isKind(a) && name !== undefined)
    records.bound(id, a, Number(parentText), unescapeName(name));
}

function isKind(text: string | undefined): text is NodeKind {
  return text === 'file' || text === 'folder' || text === 'other' || text === 'virtual';
}

function escapeName(name: string): string {
  if (!/[\\\t\n]/.test(name)) return name;
  return name.replaceAll('\\', '\\\\').replaceAll('\t', '\\t').replaceAll('\n', '\\n');
}

function unescapeName(text: string): string {
  if (!text.includes('\\')) return text;
  return text.replace(/\\(.)/g, (_, letter: string) => (letter === 't' ? '\t' : letter === 'n' ? '\n' : letter));
}
