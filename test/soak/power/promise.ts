import type { ReadRecord } from '../../../src/disk/trace.js';

/** What an application says of its database, in a mark. */
export interface Mark {
  readonly db: string;
  readonly generation: number;
  /**
   * `made`: the first transaction of a new file is about to begin; `begun`, `committed`: a transaction; `durable`: a
   * checkpoint returned, which had all of them; `dropping`, `dropped`: the file is removed.
   */
  readonly what: 'made' | 'begun' | 'committed' | 'durable' | 'dropping' | 'dropped';
  readonly n: number;
  /** What makes a committed transaction one that power loss must not take. */
  readonly promise: Promised;
}

/** Where the mount was: super-journals are named by paths below it. */
export interface MountMark {
  readonly mount: string;
  /** The node is a replica: it promises no transaction, and applications work on its primary. */
  readonly replica?: true;
}

/** Where the primary's databases are at the end, as in `<db>-pos`, and the replica's too. */
export interface PrimaryMark {
  readonly primaryAt: Readonly<Record<string, string>>;
}

/**
 * `commit`: COMMIT returned. `folder`: and the names of its folder were synced since (without `synchronous = EXTRA` SQLite
 * does not wait for the removal of the journal to be durable). `checkpoint`: a checkpoint with it returned (WAL, NORMAL).
 */
export type Promised = 'commit' | 'folder' | 'checkpoint';

/** A database from its making to its removal. */
interface Life {
  readonly generation: number;
  begun: number;
  /** So many transactions must be there. */
  floor: number;
  /** Will be the floor when the folder is synced, and the mark that said so. */
  readonly awaiting: { readonly n: number; readonly index: number }[];
  leaving: boolean;
  /** The mark that said that it is gone. */
  gone: number | undefined;
}

/** What the databases may hold after a crash, by what was promised until then. */
export class Promises {
  mountPath = '';
  ofReplica = false;
  private readonly lives = new Map<string, Life[]>();
  private readonly syncs = new Map<string, number>();

  take(record: ReadRecord, index: number): void {
    if (record.op === 'sync' && record.label === 'files-folder.sync' && !this.ofReplica)
      this.syncs.set(record.id, index);
    else if (record.op === 'synced') this.synced(this.syncs.get(record.id));
    else if (record.op === 'mark') this.mark(JSON.parse(record.text) as Mark | MountMark | PrimaryMark, index);
  }

  databases(): string[] {
    return [...this.lives.keys()];
  }

  /** Throws if `found` (undefined: no such database, or an empty one) is not what it may be. */
  check(db: string, found: { readonly generation: number; readonly n: number } | undefined): void {
    const allowed: string[] = [];
    for (const life of [...this.lives.get(db)!].reverse()) {
      if (found?.generation === life.generation && found.n >= life.floor && found.n <= life.begun) return;
      allowed.push(`${life.floor} to ${life.begun} transactions of generation ${life.generation}`);
      if (found === undefined && life.leaving) return;
      if (life.floor > 0) {
        const has = found === undefined ? 'nothing' : `${found.n} of generation ${found.generation}`;
        throw new Error(`${db} has ${has}, and may have ${allowed.join(', or ')}`);
      }
    }
    if (found !== undefined)
      throw new Error(`${db} has ${found.n} of generation ${found.generation}, which was not begun`);
  }

  private mark(mark: Mark | MountMark | PrimaryMark, index: number): void {
    if ('primaryAt' in mark) return;
    if ('mount' in mark) {
      this.mountPath = mark.mount;
      this.ofReplica = mark.replica === true;
      return;
    }
    const { db, generation, what, n, promise } = mark;
    const lives = this.lives.get(db) ?? [];
    this.lives.set(db, lives);
    if (what === 'made') {
      lives.push({ generation, begun: 0, floor: 0, awaiting: [], leaving: false, gone: undefined });
      return;
    }
    const life = lives.at(-1)!;
    if (what === 'begun') life.begun = n;
    else if (this.ofReplica) return;
    else if (what === 'durable' || (what === 'committed' && promise === 'commit')) life.floor = n;
    else if (what === 'committed' && promise === 'folder') life.awaiting.push({ n, index });
    else if (what === 'dropping') life.leaving = true;
    else if (what === 'dropped') life.gone = index;
  }

  /** The names of the files' folder as they were at `index` are durable. */
  private synced(index: number | undefined): void {
    if (index === undefined) return;
    for (const [db, lives] of this.lives) {
      for (const life of lives) {
        while (life.awaiting[0] !== undefined && life.awaiting[0].index < index) life.floor = life.awaiting.shift()!.n;
      }
      this.lives.set(
        db,
        lives.filter(({ gone }) => gone === undefined || gone > index),
      );
    }
  }
}
