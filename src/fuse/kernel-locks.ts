import { readFileSync } from 'node:fs';

const TABLE = '/proc/locks';
/** The kernel gives the table out in pieces of a page, and a lock may be missed between two of them while others go away. */
const ONE_PIECE_CHARS = 3500;
const MAX_READS = 3;

/** `1: POSIX  ADVISORY  WRITE 4711 00:2f:12 1073741826 1073742335`: device and inode in the middle, then first and last byte. */
const HELD = /^\d+: (?:POSIX|OFDLCK)\s+\S+\s+WRITE\s+\S+ ([0-9a-f]+):([0-9a-f]+):(\d+) (\d+) (\d+|EOF)$/;

/**
 * POSIX locks that the kernel keeps for the files of one FUSE mount, as /proc/locks shows them. It does not show those
 * of processes that this process cannot see: the pid of their requests is 0.
 */
export class KernelLocks {
  constructor(
    /** Number of the FUSE connection, which is the mount's minor device number. */
    private readonly connection: number,
    private readonly readTable: () => string = () => readFileSync(TABLE, 'latin1'),
  ) {}

  /** Whether anybody holds a write lock on a byte of `first..last` of the file with this node id. Throws the system's error. */
  isWriteLocked(id: number, first: number, last: number): boolean {
    for (let n = 0; n < MAX_READS; n++) {
      const table = this.readTable();
      for (const line of table.split('\n')) if (this.isHeld(line, id, first, last)) return true;
      if (table.length < ONE_PIECE_CHARS) return false;
    }
    return false;
  }

  private isHeld(line: string, id: number, first: number, last: number): boolean {
    const found = HELD.exec(line);
    if (found === null || Number(found[3]) !== id) return false;
    if (Number.parseInt(found[1]!, 16) !== 0 || Number.parseInt(found[2]!, 16) !== this.connection) return false;
    return Number(found[4]) <= last && (found[5] === 'EOF' || Number(found[5]) >= first);
  }
}
