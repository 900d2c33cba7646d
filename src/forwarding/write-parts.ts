import type { Looked } from '../apply/index.js';
import type { Database, ToWorker } from '../database/index.js';
import type { WriteSender } from '../replication/index.js';
import type { WriteLimits } from './limits.js';
import type { Origin } from './outgoing-transaction.js';

/** What a primary answers that takes no writes of replicas. */
export const WRITES_OFF = 'WRITES_OFF';

/** What the databases of a replica share for what applications write to them. */
export interface WriteParts {
  readonly limits: WriteLimits;
  /** Folder for transactions that are large. */
  readonly spool: string;
  database(name: string): Database | undefined;
  /** What is not a database yet, and may become one. */
  blank(name: string): Origin;
  /** The database as its readers see it. */
  look(name: string): Promise<Looked>;
  /** On the present connection; undefined while there is none. */
  sender(): WriteSender | undefined;
  /** What a transaction that was not taken has written is taken back; `pages`: see `played-back`. */
  playedBack(name: string, pages: Uint32Array | undefined): void;
  worker(message: ToWorker): void;
  /** The primary has got what was sent up to then. */
  heardMs(): number;
  /** Another number each time. */
  serial(): number;
  /** What became of a commit that was sent to the primary. */
  ended?(name: string, outcome: 'taken' | 'refused' | 'unknown'): void;
  readonly log: { warn(fields: object, message: string): void; debug(fields: object, message: string): void };
}
