import { readSync } from '../disk/index.js';
import type { FileNode } from '../fuse/index.js';
import {
  backfilledFrames,
  backfillingFrames,
  parseWalHeader,
  parseWalIndexHeader,
  WAL_HEADER_SIZE,
  WAL_INDEX_PREFIX_SIZE,
  type WalHeader,
  type WalIndexHeader,
} from '../sqlite/index.js';
import type { TrackedDatabase } from './tracked-database.js';

/** What a look at a WAL found. */
export interface Seen {
  /** It has another generation, or more commits, than was known. */
  readonly changed: boolean;
  /** There is something in it that may soon be a commit: somebody should look again. */
  readonly more: boolean;
  /** The frames that its users have published are fewer than what was taken for committed. */
  readonly published: number | undefined;
  /** What was taken for committed does not stand there any more. */
  readonly broken: boolean;
}

const NOTHING: Seen = { changed: false, more: false, published: undefined, broken: false };
const SOON: Seen = { ...NOTHING, more: true };
const CHANGED: Seen = { ...NOTHING, changed: true };
const BROKEN: Seen = { ...NOTHING, broken: true };

/** Readings of a wal-index that is being written, which takes its writer less than a microsecond if it is not interrupted. */
const INDEX_TRIES = 100;

/**
 * Finds out how far a WAL is committed whose writes nobody tells of, because the kernel makes them by itself. Its users
 * say so in the wal-index, which the kernel maps on the backing file for the same reason. Without a wal-index
 * (`locking_mode=EXCLUSIVE`), or where it cannot be read, each commit frame whose checksum chain verifies counts. On the worker.
 */
export class WalLook {
  private readonly head = Buffer.alloc(WAL_HEADER_SIZE);
  private readonly prefix = Buffer.alloc(WAL_INDEX_PREFIX_SIZE);

  /** `isExclusive`: whether somebody holds EXCLUSIVE on the database file, and so uses no wal-index. Asked rarely. */
  constructor(private readonly isExclusive: (database: TrackedDatabase) => boolean) {}

  /**
   * Takes what the files say now. `last`: the database file may change, or the WAL be gone or begin afresh, after this; so
   * what cannot be told from the wal-index is taken for committed if it can be.
   */
  look(database: TrackedDatabase, last: boolean): Seen {
    const { walNode } = database;
    if (walNode === undefined) return NOTHING;
    const header = this.header(walNode);
    // Cut to nothing, of which we are told; or being written.
    if (header === undefined) return NOTHING;
    const seen = this.byIndex(database, header, last);
    if (seen === 'unknown') return last ? this.verified(database, header) : SOON;
    if (seen === 'none') return this.verified(database, header);
    const isSuspect = last && seen.more && this.isExclusive(database);
    if (!isSuspect) return seen;
    const { changed, more, published, broken } = this.verified(database, header);
    return { changed: changed || seen.changed, more, published, broken: broken || seen.broken };
  }

  /**
   * Whether main has logged all that a checkpoint under way may bring to the database file, as far as the wal-index tells:
   * cheaper than a look.
   */
  isLogged({ wal, shmNode }: TrackedDatabase, isLogged: (frames: number) => boolean): boolean {
    const index = this.index(wal.header, shmNode);
    if (index === undefined) return false;
    return isLogged(backfillingFrames(this.prefix, index.frames));
  }

  /** How far the checkpoint goes that is about to end, as its wal-index says; undefined if it does not say. */
  ending({ wal, shmNode }: TrackedDatabase): { readonly frames: number; readonly pages: number } | undefined {
    const index = this.index(wal.header, shmNode);
    if (index === undefined) return undefined;
    const frames = backfillingFrames(this.prefix, index.frames);
    return { frames, pages: frames === 0 ? 0 : wal.pagesAt(frames) };
  }

  /** Frames that the wal-index says are in the database file. */
  backfilled({ wal, shmNode }: TrackedDatabase): number {
    return this.index(wal.header, shmNode) === undefined ? 0 : backfilledFrames(this.prefix);
  }

  /** Of this WAL, if it is in use and can be read now. */
  private index(header: WalHeader | undefined, shmNode: FileNode | undefined): WalIndexHeader | undefined {
    if (header === undefined || shmNode === undefined || !isInUse(shmNode)) return undefined;
    const index = this.read(shmNode);
    return index?.salt1 === header.salt1 && index.salt2 === header.salt2 ? index : undefined;
  }

  /** What the wal-index says; `none`: nobody uses it. */
  private byIndex(database: TrackedDatabase, header: WalHeader, last: boolean): Seen | 'none' | 'unknown' {
    const { wal } = database;
    let index = this.indexOf(database);
    for (let n = 0; last && index === undefined && n < INDEX_TRIES; n++) index = this.indexOf(database);
    if (index === 'none') return 'none';
    if (index === undefined) return 'unknown';
    if (index.salt1 !== header.salt1 || index.salt2 !== header.salt2) {
      // Published before the header is written, with no frames yet: what was there before is logged.
      return index.frames === 0 ? SOON : 'unknown';
    }
    let changed = false;
    let broken = false;
    if (!isSame(wal.header, header)) {
      broken =
        wal.header !== undefined &&
        database.passed.published !== undefined &&
        database.passed.published < wal.committedFrames;
      wal.beginAnew(header);
      changed = true;
    }
    if (index.frames > 0 && !wal.isFrame(index.frames, index)) return 'unknown';
    const before = database.passed.published;
    database.passed.published = index.frames;
    if (before !== undefined && before !== index.frames) database.passed.indexMoves = true;
    const known = wal.committedFrames;
    if (index.frames < known) {
      // A shorter commit may stand over the one that was taken for one.
      if (before !== index.frames) broken ||= !wal.verifiesAll();
      return { changed, more: false, published: index.frames, broken };
    }
    broken ||= !wal.stands;
    if (index.frames > known) {
      wal.publish(index.frames, index.s0, index.s1);
      changed = true;
    }
    return { changed, more: wal.isFrame(index.frames + 1), published: undefined, broken };
  }

  /** Takes each commit that verifies. */
  private verified(database: TrackedDatabase, header: WalHeader): Seen {
    const { wal } = database;
    database.passed.published = undefined;
    if (!isSame(wal.header, header)) {
      wal.load();
      return CHANGED;
    }
    if (!wal.stands) return BROKEN;
    return wal.verifyAgain() ? CHANGED : NOTHING;
  }

  private header(walNode: FileNode): WalHeader | undefined {
    const { head } = this;
    return readSync(walNode.fd(), head, 0, head.length, 0) < head.length ? undefined : parseWalHeader(head);
  }

  /** Undefined while it is being written, or made anew. */
  private indexOf(database: TrackedDatabase): WalIndexHeader | undefined | 'none' {
    const { shmNode } = database;
    if (shmNode === undefined || !isInUse(shmNode)) return 'none';
    // What an earlier process's handles are is not known: the file may be an old one that nobody uses, or who only copies it.
    if (shmNode.writers === 0 && !database.passed.indexMoves && this.isExclusive(database)) return 'none';
    const index = this.read(shmNode);
    return index?.initialised === true ? index : undefined;
  }

  /** Its header; what stands behind it is in `prefix` then. */
  private read(shmNode: FileNode): WalIndexHeader | undefined {
    const { prefix } = this;
    return readSync(shmNode.fd(), prefix, 0, prefix.length, 0) < prefix.length
      ? undefined
      : parseWalIndexHeader(prefix);
  }
}

function isInUse(shmNode: FileNode): boolean {
  return shmNode.passed && (shmNode.handles > 0 || shmNode.inherited);
}

function isSame(a: WalHeader | undefined, b: WalHeader): boolean {
  return a !== undefined && a.salt1 === b.salt1 && a.salt2 === b.salt2 && a.pageSize === b.pageSize;
}
