import { type Stats, statSync } from 'node:fs';
import { opendir } from 'node:fs/promises';
import { join } from 'node:path';
import { isKept, MAX_DEPTH, startsLikeDatabase } from './database/folder-scan.js';
import { errorCode } from './errors.js';

/** So many files are looked at whenever somebody asks. */
const FEW = 500;
/** With more of them, who asks again so soon is told the same. */
const REST_MS = 3_000;
/** Files that are looked at before the event loop gets its turn. */
const BATCH = 64;
/** Files whose kind is remembered; the first bytes of further ones are read at each scan. */
const MAX_KNOWN = 50_000;
const REPLACEMENT = '\ufffd';

/** What a file was when its first bytes were read: while this is the same, they are too. */
interface Known {
  readonly ino: number;
  readonly size: number;
  readonly changedMs: number;
  readonly isDatabase: boolean;
}

/**
 * The files of a folder that are no SQLite databases, and links, for the status: found without holding up what else goes
 * on. Bytes of a name that are no UTF-8 are U+FFFD in it; such a file is listed whatever it is.
 */
export class LocalFiles {
  private known = new Map<string, Known>();
  private names: readonly string[] = [];
  private scanning: Promise<void> | undefined;
  private restUntilMs = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly root: string,
    /** Reads a file's first bytes; undefined for one that is gone. For tests. */
    private readonly isDatabase: (path: string) => boolean | undefined = startsLikeDatabase,
    private readonly nowMs: () => number = () => performance.now(),
  ) {}

  /** Their paths below the folder, sorted; as they are now, or with many of them were at most REST_MS ago. */
  async list(): Promise<readonly string[]> {
    if (this.scanning === undefined && this.nowMs() < this.restUntilMs) return this.names;
    this.scanning ??= this.scan().finally(() => {
      this.scanning = undefined;
    });
    await this.scanning;
    return this.names;
  }

  private async scan(): Promise<void> {
    const known = new Map<string, Known>();
    const names: string[] = [];
    await this.visit('', 0, known, names);
    this.known = known;
    this.names = names.sort();
    if (known.size > FEW) this.restUntilMs = this.nowMs() + REST_MS;
  }

  private async visit(prefix: string, depth: number, known: Map<string, Known>, names: string[]): Promise<void> {
    const folders: string[] = [];
    try {
      for await (const entry of await opendir(join(this.root, prefix), { bufferSize: BATCH })) {
        const path = prefix === '' ? entry.name : `${prefix}/${entry.name}`;
        if (entry.isDirectory() && depth < MAX_DEPTH) folders.push(path);
        else if (entry.isSymbolicLink() || (entry.isFile() && isKept(path) && this.kindOf(path, known) === false)) {
          names.push(path);
        }
      }
    } catch (error) {
      if (prefix === '' || !isOutOfReach(error)) throw error;
    }
    for (const folder of folders) await this.visit(folder, depth + 1, known, names);
  }

  /** Whether it is a database; undefined for a file that is gone. */
  private kindOf(path: string, known: Map<string, Known>): boolean | undefined {
    const full = join(this.root, path);
    const stat = statOf(full);
    if (stat === undefined) return path.includes(REPLACEMENT) ? false : undefined;
    const before = this.known.get(path);
    const isDatabase = before !== undefined && isSame(before, stat) ? before.isDatabase : this.isDatabase(full);
    if (isDatabase !== undefined && known.size < MAX_KNOWN) {
      known.set(path, { ino: stat.ino, size: stat.size, changedMs: stat.ctimeMs, isDatabase });
    }
    return isDatabase;
  }
}

function statOf(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch (error) {
    if (isOutOfReach(error)) return undefined;
    throw error;
  }
}

/** It is gone, or its path is longer than the system takes, since a folder above was renamed. */
const isOutOfReach = (error: unknown): boolean =>
  ['ENOENT', 'ENOTDIR', 'ENAMETOOLONG'].includes(errorCode(error) ?? '');

function isSame(known: Known, { ino, size, ctimeMs }: Stats): boolean {
  return known.ino === ino && known.size === size && known.changedMs === ctimeMs;
}
