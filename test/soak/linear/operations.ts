import { appendFileSync, readFileSync } from 'node:fs';

/** What clients do, as they write it down: one JSON object a line. The judge in checker/ reads the same lines. */

export const KEYS = 6;
export const ACCOUNTS = 5;
/** Of each account at the start. */
export const BALANCE = 100;

/** `primary`, `replica 1`, `replica 2`. */
export type NodeName = string;

/** A row, and the operation that wrote it: empty for how it was at the start. */
export interface Row {
  readonly value: number;
  readonly by: string;
}

export type OperationName = 'read' | 'write' | 'cas' | 'balances' | 'transfer';

export interface Operation {
  /** Unique in a history. */
  readonly id: string;
  readonly client: number;
  readonly node: NodeName;
  readonly op: OperationName;
  /** Whether its transaction held the write lock: from its beginning (BEGIN IMMEDIATE), or since it wrote. */
  readonly locked: boolean;
  /** Of the machine's monotonic clock. */
  readonly start_ns: number;
  readonly end_ns: number;
  /** `fail`: it did not happen. `unknown`: it may have, or may still. */
  readonly kind: 'ok' | 'fail' | 'unknown';
  readonly input: {
    readonly key?: number;
    readonly value?: number;
    readonly expect?: number;
    readonly from?: number;
    readonly to?: number;
    readonly amount?: number;
  };
  readonly output: {
    /** What it read in its transaction, by key or account. */
    readonly seen?: Readonly<Record<number, Row>>;
    /** Of a cas: it found what it expected. Of a transfer: there was enough. */
    readonly done?: boolean;
  };
  /**
   * The database's version: how many transactions have written it, and the last of them. After this operation, if it
   * wrote; else as it found it.
   */
  readonly version?: Row;
  /** Whether it changed something. */
  readonly wrote: boolean;
  /** How it failed: SQLite's code, and what it was about to do. */
  readonly error?: { readonly code: string; readonly step: string };
}

/** Appended in one piece, so that a client that is killed leaves whole lines. */
export function note(file: string, operation: Operation): void {
  appendFileSync(file, `${JSON.stringify(operation)}\n`);
}

/**
 * The operations of a client. Before each COMMIT it writes down that the outcome is unknown; if it came to know it, the
 * line after that counts.
 */
export function readNotes(file: string): Operation[] {
  const byId = new Map<string, Operation>();
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    if (line === '') continue;
    const operation = JSON.parse(line) as Operation;
    byId.set(operation.id, operation);
  }
  return [...byId.values()];
}

/** Milliseconds of the clock that histories are in, for messages. */
export function atMs(ns: number, start: number): string {
  return `${((ns - start) / 1e6).toFixed(1)} ms`;
}
