import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { join } from 'node:path';
import { describeError, SluiceError } from '../errors.js';
import type { Caller } from './names.js';
import { addonFolder, CALLER_MAGIC } from './native-addon.js';

/**
 * fuse-native's addon, without the class that the package wraps it in: that has no negative entries, answers an open
 * file's attributes by its path, and takes several turns of the event loop for an answer.
 *
 * For each request libfuse's thread waits while the event loop of the *main* thread (in whatever thread the addon was
 * loaded) calls the operation's handler with a record of the request; the answer is given by the operation's signal,
 * with that record. Its argument lists are in fuse-native.c.
 */
const OPERATIONS = [
  'init',
  'statfs',
  'getattr',
  'fgetattr',
  'open',
  'create',
  'read',
  'write',
  'release',
  'fsync',
  'fsyncdir',
  'readdir',
  'truncate',
  'ftruncate',
  'utimens',
  'readlink',
  'chown',
  'chmod',
  'mknod',
  'unlink',
  'rename',
  'link',
  'symlink',
  'mkdir',
  'rmdir',
] as const;

export type Operation = (typeof OPERATIONS)[number];
/** What an operation is asked: strings, numbers, and a Buffer for data. */
export type Arguments = readonly unknown[];
export type Handler = (record: Buffer, ...args: Arguments) => void;

/** Gives the answer to a request: 0 or more, or a negative errno, and what else the operation answers. */
export type Signal = (record: Buffer, result: number, ...more: Arguments) => void;

interface NativeBinding {
  readonly sizeof_fuse_thread_t: number;
  fuse_native_mount(
    path: string,
    options: string,
    thread: Buffer,
    context: object,
    allocate: (bytes: number) => Buffer,
    handlers: readonly unknown[],
    implemented: Uint32Array,
  ): void;
}

/** Numbers of operations are below this. */
const OPERATION_LIMIT = 35;
const RTLD_NODELETE = 0x1000;

/** Bytes of the record's event handle, which is its last member, and where the words of fuse-caller.h stand in it. */
const HANDLE_BYTES = 128;
const CALLER_WORDS = 56;
/** The record on 64-bit Linux, and in it what utimens was asked: fuse-native hands out the first time twice. */
const RECORD_BYTES = 360;
const RECORD_MTIME = 112;

export class FuseNative {
  readonly #binding: NativeBinding & Readonly<Record<string, unknown>>;
  /** The addon keeps pointers into these. */
  readonly #memory = new Set<Buffer>();

  private constructor(binding: NativeBinding) {
    this.#binding = binding as NativeBinding & Readonly<Record<string, unknown>>;
  }

  /** SluiceError: `LIBFUSE_LOAD`. */
  static load(): FuseNative {
    const folder = addonFolder();
    try {
      if (folder === undefined) throw new Error('it is not installed');
      keepLibrary(folder);
      const path = existsSync(join(folder, 'fuse.node')) ? 'fuse.node' : 'node.napi.node';
      return new FuseNative(createRequire(import.meta.url)(join(folder, path)) as NativeBinding);
    } catch (cause) {
      throw new SluiceError(
        'LIBFUSE_LOAD',
        `The npm package fuse-native cannot be loaded: ${describeError(cause)}`,
        'Build it: npm rebuild fuse-native (it needs a C compiler, make and python3)',
        { cause },
      );
    }
  }

  /** The signal of an operation. */
  signal(operation: Operation): Signal {
    return this.#binding[`fuse_native_signal_${operation}`] as Signal;
  }

  /** Mounts, and serves from then on. Blocks while libfuse mounts. Throws an Error without a reason; libfuse prints it. */
  mount(path: string, options: readonly string[], handlers: ReadonlyMap<Operation, Handler>): void {
    const table: unknown[] = new Array(OPERATION_LIMIT).fill(() => undefined);
    const implemented = new Uint32Array(OPERATION_LIMIT);
    for (const [operation, handler] of handlers) {
      const number = this.#binding[`op_${operation}`] as number;
      table[number] = (record: Buffer, _number: number, ...args: Arguments) => handler(record, ...args);
      implemented[number] = 1;
    }
    const thread = this.#allocate(this.#binding.sizeof_fuse_thread_t);
    const allocate = (bytes: number): Buffer => this.#allocate(bytes);
    this.#binding.fuse_native_mount(path, `-o${options.join(',')}`, thread, {}, allocate, table, implemented);
  }

  #allocate(bytes: number): Buffer {
    const memory = Buffer.alloc(bytes);
    this.#memory.add(memory);
    return memory;
  }
}

/** Whether a record says who made its request. */
export const hasCaller = (record: Buffer): boolean =>
  record.length > HANDLE_BYTES && record.readBigUInt64LE(callerAt(record)) === CALLER_MAGIC;

/** The thread that made the request; 0 if that is not known. */
export const callerPid = (record: Buffer): number =>
  hasCaller(record) ? record.readUInt32LE(callerAt(record) + 8) : 0;

/** Who a new file belongs to. Only root can give it to another than this process. */
export function callerOf(record: Buffer): Caller {
  const pid = callerPid(record);
  if (pid === 0 || process.geteuid?.() !== 0) {
    return { pid, uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
  }
  const at = callerAt(record);
  return { pid, uid: record.readUInt32LE(at + 16), gid: record.readUInt32LE(at + 20) };
}

/** Milliseconds; `otherwise` where the record is not laid out as is known here. */
export const wantedMtimeMs = (record: Buffer, otherwise: number): number =>
  record.length === RECORD_BYTES ? Number(record.readBigUInt64LE(RECORD_MTIME)) : otherwise;

const callerAt = (record: Buffer): number => record.length - HANDLE_BYTES + CALLER_WORDS;

/**
 * Loads the libfuse that the addon needs, under the name by which it looks for it, and that stays loaded although it is
 * no addon. Without this only a libfuse.so.2 of the system would be found.
 */
function keepLibrary(folder: string): void {
  if (process.platform !== 'linux') return;
  const { RTLD_LAZY, RTLD_GLOBAL } = constants.dlopen;
  try {
    process.dlopen({ exports: {} }, join(folder, 'libfuse.so'), RTLD_LAZY | RTLD_GLOBAL | RTLD_NODELETE);
  } catch {
    // "Module did not self-register"; if it could not be loaded, neither can the addon, which says why
  }
}
