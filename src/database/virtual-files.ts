import { formatPosition } from '../ltx/index.js';
import { isRestoring } from '../restoring-name.js';
import type { SharedState } from './shared.js';

const POSITION_SUFFIX = '-pos';
const LOCK_SUFFIX = '-lock';
const EMPTY = Buffer.alloc(0);
const HIDDEN_PREFIX = '.sluice-';
/** What `.lag` says while nothing is known of the primary. */
const LAG_UNKNOWN_MS = 2147483647;

/** By its name alone. */
export function databaseOfLockFile(path: string): string | undefined {
  return path.endsWith(LOCK_SUFFIX) ? path.slice(0, -LOCK_SUFFIX.length) : undefined;
}

/** The files that LiteFS users know: `.primary`, `.lag`, `<db>-pos` and `<db>-lock`. On the worker thread. */
export class VirtualFiles {
  /** The primary's advertised address; undefined on the primary itself, and while unknown. */
  primary: string | undefined;

  constructor(
    private readonly shared: SharedState,
    private readonly slotOf: (name: string) => number | undefined,
  ) {}

  content(path: string): Buffer | undefined {
    if (path === '.primary') return this.primary === undefined ? undefined : Buffer.from(`${this.primary}\n`);
    if (path === '.lag') {
      const lagMs = this.shared.lagMs();
      return Buffer.from(`${lagMs < 0 ? LAG_UNKNOWN_MS : lagMs}\n`);
    }
    if (this.lockedBy(path) !== undefined) return EMPTY;
    if (!path.endsWith(POSITION_SUFFIX)) return undefined;
    const slot = this.slotOf(path.slice(0, -POSITION_SUFFIX.length));
    if (slot === undefined) return undefined;
    const position = this.shared.position(slot);
    return position.txid === 0 || position.pageCount === 0 ? undefined : Buffer.from(`${formatPosition(position)}\n`);
  }

  /** The database for which this is the lock file. */
  lockedBy(path: string): string | undefined {
    const name = databaseOfLockFile(path);
    return name === undefined || this.slotOf(name) === undefined ? undefined : name;
  }

  /** Whether an application may not make a file of this path, because the name is ours. */
  isReserved(path: string): boolean {
    return path === '.primary' || path === '.lag' || this.isHidden(path.slice(path.lastIndexOf('/') + 1));
  }

  /** What a restore is making here is not: one that was cut short can be seen, and removed. */
  isHidden(name: string): boolean {
    return name.startsWith(HIDDEN_PREFIX) && !isRestoring(name);
  }
}
