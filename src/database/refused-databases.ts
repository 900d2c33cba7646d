import { existsSync } from 'node:fs';
import { describeError, SluiceError } from '../errors.js';
import { onDisk } from '../fuse/index.js';
import { nameProblem } from './names.js';

/** Between two tries to open what is kept of a database. */
const RETRY_MS = 5000;
/** Databases without a slot that are named one by one. */
const MAX_NAMED = 100;

interface Refused {
  readonly name: string;
  retryAtMs: number;
  error: SluiceError | undefined;
  readonly sinceMs: number;
}

export interface Refusal {
  readonly name: string;
  readonly error: SluiceError;
  readonly sinceMs: number;
}

/** Databases under the mount that are not replicated, and why. Main thread. */
export class RefusedDatabases {
  private readonly bySlot = new Map<number, Refused>();
  private readonly withoutSlot = new Map<string, number>();

  constructor(
    private readonly files: string,
    private readonly limit: number,
  ) {}

  /** The worker has it in that slot, and it is to be opened. */
  expect(slot: number, name: string): void {
    this.withoutSlot.delete(name);
    this.bySlot.set(slot, { name, retryAtMs: 0, error: undefined, sinceMs: Date.now() });
  }

  has(slot: number): boolean {
    return this.bySlot.has(slot);
  }

  nameOf(slot: number): string | undefined {
    return this.bySlot.get(slot)?.name;
  }

  /** It was opened, or is gone. */
  delete(slot: number): void {
    this.bySlot.delete(slot);
  }

  /** The name of the one to open now, if it is time. */
  due(slot: number): string | undefined {
    const refused = this.bySlot.get(slot);
    return refused !== undefined && performance.now() >= refused.retryAtMs ? refused.name : undefined;
  }

  failed(slot: number, cause: unknown): void {
    const refused = this.bySlot.get(slot);
    if (refused === undefined) return;
    refused.retryAtMs = performance.now() + RETRY_MS;
    refused.error = new SluiceError(
      'DATABASE_REFUSED',
      `${refused.name}: nothing can be kept of it in the data folder: ${describeError(cause)}`,
      'It is not replicated; its next transaction tries it again',
      { cause },
    );
  }

  /** It cannot have a slot. Returns why, if that is news. */
  refuse(name: string): SluiceError | undefined {
    if (this.withoutSlot.has(name) || this.withoutSlot.size >= MAX_NAMED) return undefined;
    this.withoutSlot.set(name, Date.now());
    return this.reason(name);
  }

  names(): { name: string; slot: number }[] {
    return [...this.bySlot].map(([slot, { name }]) => ({ name, slot }));
  }

  *refusals(): Generator<Refusal> {
    for (const { name, error, sinceMs } of this.bySlot.values()) {
      if (error !== undefined) yield { name, error, sinceMs };
    }
    for (const [name, sinceMs] of this.withoutSlot) {
      if (existsSync(onDisk(`${this.files}/${name}`))) yield { name, error: this.reason(name), sinceMs };
      else this.withoutSlot.delete(name);
    }
  }

  private reason(name: string): SluiceError {
    const problem = nameProblem(name);
    if (problem !== undefined) {
      return new SluiceError(problem.code, `it is not replicated: ${problem.message}`, 'Give it another name');
    }
    return new SluiceError(
      'DATABASE_LIMIT',
      `${name}: it is not replicated: this node has ${this.limit} databases already`,
      'Remove databases, or put some under another node',
    );
  }
}
