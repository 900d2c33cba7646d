import { DEFER, F_RDLCK, F_UNLCK, PROCEED, type Verdict, type VirtualLock, type VirtualNode } from '../fuse/index.js';
import { databaseOfLockFile } from './virtual-files.js';
import type { FromWorker } from './worker-messages.js';
import { isOwner } from './written-database.js';

/** The byte of a lock file that is locked: LiteFS's HALT. */
export const HALT_BYTE = 72;

const EAGAIN = 11;
const EINVAL = 22;
const ENOLCK = 37;
const ENOSYS = 38;

/** `given`: main has it for whoever asks next. */
type State = 'asked' | 'given' | 'refused' | 'held';

interface HandLock {
  state: State;
  owner: VirtualLock['owner'] | undefined;
  /** Who waits in the kernel until it is given. */
  readonly waiting: VirtualLock['owner'][];
}

/**
 * The lock files of a replica where applications write. Who locks the HALT byte has the database's write lock of the primary
 * until it unlocks it, closes the file, or dies. Of LiteFS: the byte, and that it is an exclusive lock of that byte alone.
 */
export class HandLocks {
  private readonly locks = new Map<string, HandLock>();

  constructor(private readonly send: (message: FromWorker) => void) {}

  /** `isLocked`: by anybody, as the lock table has it. */
  mayLock(lock: VirtualLock, isLocked: (node: VirtualNode, byte: number) => boolean): Verdict {
    const { node, owner, type, start, end, waits } = lock;
    const name = databaseOfLockFile(node.path);
    if (name === undefined) return EINVAL;
    if (type === F_UNLCK) {
      if (start <= HALT_BYTE && end >= HALT_BYTE) this.unlocked(name, owner);
      return PROCEED;
    }
    if (start !== HALT_BYTE || end !== HALT_BYTE) return EINVAL;
    if (type === F_RDLCK) return ENOSYS;
    // Who has it may lock it again; others wait in the table, or are told.
    if (isLocked(node, HALT_BYTE)) return PROCEED;
    return this.give(name, owner, waits);
  }

  private give(name: string, owner: VirtualLock['owner'], waits: boolean): Verdict {
    const known = this.locks.get(name);
    if (known?.state === 'given') {
      this.stopWaiting(known, owner);
      known.state = 'held';
      known.owner = owner;
      this.send({ kind: 'hand-taken', name, inherited: false });
      return PROCEED;
    }
    if (known?.state === 'refused') {
      this.stopWaiting(known, owner);
      if (known.waiting.length === 0) this.locks.delete(name);
      return ENOLCK;
    }
    const lock = known ?? { state: 'asked', owner: undefined, waiting: [] };
    if (known === undefined) {
      this.locks.set(name, lock);
      this.send({ kind: 'hand-wanted', name });
    }
    if (!waits) return EAGAIN;
    if (!lock.waiting.some(({ low, high }) => isOwner(owner, low, high))) lock.waiting.push(owner);
    return DEFER;
  }

  private unlocked(name: string, owner: VirtualLock['owner']): void {
    const lock = this.locks.get(name);
    if (lock === undefined) return;
    if (lock.state === 'held') {
      if (isOwner(lock.owner, owner.low, owner.high)) this.end(name);
      return;
    }
    if (this.stopWaiting(lock, owner) && lock.waiting.length === 0) this.end(name);
  }

  private end(name: string): void {
    this.locks.delete(name);
    this.send({ kind: 'hand-released', name });
  }

  private stopWaiting({ waiting }: HandLock, { low, high }: VirtualLock['owner']): boolean {
    const index = waiting.findIndex((owner) => isOwner(owner, low, high));
    if (index >= 0) waiting.splice(index, 1);
    return index >= 0;
  }

  /** An earlier process gave it. */
  inherited(node: VirtualNode, owner: VirtualLock['owner']): void {
    const name = databaseOfLockFile(node.path);
    if (name === undefined) return;
    this.locks.set(name, { state: 'held', owner, waiting: [] });
    this.send({ kind: 'hand-taken', name, inherited: true });
  }

  /** What main says. */
  take(name: string, what: 'given' | 'refused' | 'returned'): void {
    const lock = this.locks.get(name);
    // Nobody wants it any more, and main has been told; or it was taken, and main will be.
    if (lock === undefined || lock.state === 'held') return;
    if (what === 'returned') this.end(name);
    // Who does not wait in the kernel asks again.
    else if (what === 'refused' && lock.waiting.length === 0) this.locks.delete(name);
    else lock.state = what;
  }
}
