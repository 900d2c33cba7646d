import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { SluiceError } from '../errors.js';
import { formatPosition, type Position, parsePosition, samePosition } from '../ltx/index.js';

/** Positions before the last one that are kept: after a power loss the database may be at one of them. */
const RECENT = 200;

/** Where a database file stands that follows a store: a small file beside it, `<database>-sluice-pos`. */
export class PositionFile {
  readonly path: string;
  /** The newest first. The first of them may only have been about to be reached. */
  private positions: Position[] = [];
  origin = 0n;

  /** Throws `FOLLOW_POSITION` if it is there and cannot be understood. */
  constructor(database: string) {
    this.path = `${database}-sluice-pos`;
    if (!existsSync(this.path)) return;
    try {
      const [origin = '', ...lines] = readFileSync(this.path, 'utf8').trim().split('\n');
      this.origin = BigInt(`0x${origin}`);
      this.positions = lines.map(parsePosition);
    } catch (cause) {
      const hint = 'Remove it and the database beside it to begin anew';
      throw new SluiceError('FOLLOW_POSITION', `${this.path} cannot be understood`, hint, { cause });
    }
  }

  get exists(): boolean {
    return this.positions.length > 0;
  }

  /** That of them with the checksum that the database has; undefined if none has it. */
  find(checksum: bigint): Position | undefined {
    return this.positions.find((position) => position.checksum === checksum);
  }

  /** Before the database goes to a position. `alone`: nothing before it counts any more. */
  write(position: Position, origin: bigint, alone: boolean): void {
    const before = alone ? [] : this.positions.filter((other) => !samePosition(other, position));
    this.positions = [position, ...before.slice(0, RECENT)];
    this.origin = origin;
    const lines = [origin.toString(16), ...this.positions.map(formatPosition)];
    writeFileSync(`${this.path}.new`, `${lines.join('\n')}\n`);
    renameSync(`${this.path}.new`, this.path);
  }
}
