import type { SluiceError } from '../errors.js';
import type { Position } from '../ltx/index.js';
import { MAX_NAME_BYTES, MAX_NAME_PART_BYTES } from './limits.js';
import { badMessage } from './shape.js';

const MAX_LONG = (1n << 64n) - 1n;

/**
 * The fields of a received message, read in order; each read checks the type and the limits and throws
 * `REPLICATION_MESSAGE` with the field's name.
 */
export class Fields {
  private index = 0;

  constructor(
    private readonly values: readonly unknown[],
    /** For error texts, e.g. `ack`. */
    private readonly of: string,
  ) {}

  private next(): unknown {
    return this.values[this.index++];
  }

  private bad(field: string): SluiceError {
    return badMessage(`${this.of}: wrong ${field}`);
  }

  /** A whole number, 0 <= x <= max. */
  integer(field: string, max = Number.MAX_SAFE_INTEGER): number {
    const value = this.next();
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value > max) throw this.bad(field);
    return value;
  }

  boolean(field: string): boolean {
    const value = this.next();
    if (typeof value !== 'boolean') throw this.bad(field);
    return value;
  }

  text(field: string, maxLength: number): string {
    const value = this.next();
    if (typeof value !== 'string' || value.length > maxLength) throw this.bad(field);
    return value;
  }

  textOrNull(field: string, maxLength: number): string | null {
    if (this.values[this.index] === null) {
      this.index++;
      return null;
    }
    return this.text(field, maxLength);
  }

  /** A database's path under the mount. */
  database(): string {
    const name = this.text('database name', MAX_NAME_BYTES);
    if (!isDatabaseName(name)) throw this.bad('database name');
    return name;
  }

  position(): Position {
    return { txid: this.integer('TXID'), checksum: this.long('checksum') };
  }

  /** 64 bits. */
  long(field: string): bigint {
    const value = this.next();
    if (typeof value !== 'bigint' || value < 0n || value > MAX_LONG) throw this.bad(field);
    return value;
  }

  bytes(field: string, maxLength: number): Uint8Array {
    const value = this.next();
    if (!(value instanceof Uint8Array) || value.length > maxLength) throw this.bad(field);
    return value;
  }

  /** One of `choices`, sent as its index. */
  choice<T>(field: string, choices: readonly T[]): T {
    return choices[this.integer(field, choices.length - 1)]!;
  }

  list<T>(field: string, maxLength: number, read: (fields: Fields) => T): T[] {
    const value = this.next();
    if (!Array.isArray(value) || value.length > maxLength) throw this.bad(field);
    return value.map((entry: unknown) => {
      if (!Array.isArray(entry)) throw this.bad(field);
      const fields = new Fields(entry, this.of);
      const result = read(fields);
      fields.end();
      return result;
    });
  }

  /** Throws if fields are left over. */
  end(): void {
    if (this.index !== this.values.length)
      throw badMessage(`${this.of}: ${this.values.length - this.index} fields too many`);
  }
}

/** True for a path that stays under the mount: relative, no empty, `.` or `..` part, no NUL, nothing too long. */
export function isDatabaseName(name: string): boolean {
  if (name === '' || name.includes('\0') || Buffer.byteLength(name) > MAX_NAME_BYTES) return false;
  return name
    .split('/')
    .every((part) => part !== '' && part !== '.' && part !== '..' && Buffer.byteLength(part) <= MAX_NAME_PART_BYTES);
}
