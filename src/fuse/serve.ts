import { readSync as readDevice, writeSync as writeDevice } from 'node:fs';
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from '../disk/index.js';
import { errorCode, SluiceError } from '../errors.js';
import type { Backing } from './backing.js';
import { Descriptors } from './descriptors.js';
import { KernelLocks } from './kernel-locks.js';
import { LockFile } from './lock-file.js';
import { LockTable, type MayLock } from './lock-table.js';
import type { Negotiated } from './negotiation.js';
import { NodeLog } from './node-log.js';
import { NodeTable } from './nodes.js';
import { Passthrough } from './passthrough.js';
import { runFirst } from './priority.js';
import { NOTIFY_RESEND, OUT_HEADER, REQUEST_BUFFER_BYTES } from './protocol.js';
import { writeHeader } from './reply.js';
import { headerOpcode } from './request.js';
import { Session } from './session.js';
import {
  DEFERRED,
  HAND_OVER,
  OPCODE_COUNTERS,
  OPCODES,
  PASSING,
  SERVING,
  SERVING_ENDED,
  SERVING_STATE,
  WAKE_PENDING,
} from './shared.js';
import { Syncer } from './syncer.js';
import { takeOver } from './takeover.js';
import { Bursts } from './wakeups.js';
import type { Watcher } from './watcher.js';

/** What the worker needs to serve one mount. Descriptors and folders are the caller's; nothing is global. */
export interface ServeOptions {
  /** `/dev/fuse`, mounted by `mountKernel`. Never closed here. */
  readonly deviceFd: number;
  /** Folder that holds the real files. Must exist. */
  readonly backing: string;
  /** Folder for this mount's `nodes`, `locks`, `session.json` and `orphans/`, on the same file system as `backing`, outside it. */
  readonly run: string;
  /** `kernel`: POSIX locks stay in the kernel. `sluice`: the worker keeps them. On a takeover the first node's choice holds. */
  readonly locks: 'kernel' | 'sluice';
  /** Number of the kernel's FUSE connection (`connectionAt`); undefined if that is not known. */
  readonly connection?: number | undefined;
  /** The kernel mount was served before by a process that died or handed over. */
  readonly takeover: boolean;
  readonly watcher: Watcher;
  /** Whether the kernel may read and write files by itself where the watcher lets it, if it and this process can. */
  readonly passthrough?: boolean;
  /** From `createShared`, made by the main thread. */
  readonly shared: SharedArrayBuffer;
  /** Asked before a lock is granted (not for unlocks); only with `locks: sluice`. */
  readonly mayLock?: MayLock;
  /** Rare things worth a line: an unexpected error of a backing call, a takeover. Never per request. */
  readonly log?: (message: string) => void;
  /** Backing descriptors kept open at most. Default 512. */
  readonly maxOpenFiles?: number;
  /** For tests: requests that wait for a wake-up at most. */
  readonly maxDeferred?: number;
  /** For tests: each fsync of a file whose path ends so takes this much longer. */
  readonly slowSync?: { readonly suffix: string; readonly delayMs: number };
}

const MAX_OPEN_FILES = 512;
/** A worker that reads no requests looks for a wake-up this often even if it is not told of one. */
const ROOM_POLL_MS = 1000;

/** What the next process on the same kernel mount must know. */
interface SavedSession {
  readonly negotiated: Negotiated;
  readonly incarnation: number;
}

/** `handed over`: the mount is as it was, and what is asked of it waits in the kernel for the next process. */
export type ServingEnd = 'unmounted' | 'handed over';

/**
 * Serves a mount until it is unmounted, or another process is to go on with it; blocks the thread (call it in a worker). Throws a SluiceError only for what
 * makes serving impossible at the start (`FUSE_TAKEOVER`).
 */
export function serveMount(options: ServeOptions): ServingEnd {
  runFirst();
  const words = new Int32Array(options.shared);
  const device = new Device(options.deviceFd, options.log);
  const orphans = `${options.run}/orphans`;
  const sessionPath = `${options.run}/session.json`;
  const saved = options.takeover ? readSaved(sessionPath) : undefined;
  const incarnation = (saved?.incarnation ?? 0) + 1;
  if (saved === undefined) {
    rmSync(orphans, { recursive: true, force: true });
    rmSync(sessionPath, { force: true });
  } else overwriteSaved(sessionPath, { negotiated: saved.negotiated, incarnation });
  mkdirSync(orphans, { recursive: true, mode: 0o700 });

  const syncer = new Syncer({
    deviceFd: options.deviceFd,
    answer: (low, high, errno) => device.answer(low, high, errno),
    slow: options.slowSync,
  });
  const maxOpenFiles = options.maxOpenFiles ?? MAX_OPEN_FILES;
  const descriptors = new Descriptors(options.backing, orphans, maxOpenFiles, (fd) => syncer.inUse(fd));
  const table = new NodeTable(descriptors);
  const backing: Backing = { folder: options.backing, table, descriptors, watcher: options.watcher };
  const lockTable = new LockTable();
  const kernelLocks = options.connection === undefined ? undefined : new KernelLocks(options.connection);
  options.watcher.serving?.({
    isWriteLocked: (node, first, last) =>
      session.locks === 'sluice'
        ? lockTable.isWriteLocked(node.id, first, last)
        : (kernelLocks?.isWriteLocked(node.id, first, last) ?? true),
    writerOf: (node, first, last) =>
      session.locks === 'sluice' ? lockTable.writerOf(node.id, first, last) : undefined,
  });
  const log =
    saved === undefined
      ? NodeLog.create(`${options.run}/nodes`)
      : NodeLog.resume(`${options.run}/nodes`, table.records);
  if (saved !== undefined) takeOver(backing, orphans);
  table.record(log, saved !== undefined);
  const lockPath = `${options.run}/locks`;
  const lockFile = saved === undefined ? LockFile.create(lockPath) : LockFile.resume(lockPath, lockTable);
  lockTable.record(lockFile);
  for (const node of table.all()) {
    if (node.kind !== 'virtual') continue;
    for (const lock of lockTable.held(node.id)) {
      options.watcher.lockInherited?.(node, { low: lock.ownerLow, high: lock.ownerHigh });
    }
  }

  const mayPass = saved === undefined ? options.passthrough === true : saved.negotiated.passthrough === true;
  const passthrough = mayPass ? Passthrough.load(options.deviceFd, table, options.watcher) : undefined;
  const session = new Session({
    backing,
    negotiated: saved?.negotiated,
    locks: options.locks,
    incarnation,
    reply: (bytes, length) => device.send(bytes, length),
    sync: syncer,
    onNegotiated: (negotiated) => {
      writeSaved(sessionPath, { negotiated, incarnation });
      Atomics.store(words, PASSING, negotiated.passthrough ? 1 : 0);
      Atomics.store(words, SERVING_STATE, SERVING);
    },
    // What comes after this needs a wake-up of its own.
    onWake: () => Atomics.store(words, WAKE_PENDING, 0),
    mayLock: options.mayLock,
    lockTable,
    passthrough,
    log: options.log,
    maxDeferred: options.maxDeferred,
  });
  if (saved !== undefined) {
    if (saved.negotiated.resend) device.notifyResend();
    Atomics.store(words, PASSING, passthrough === undefined ? 0 : 1);
    Atomics.store(words, SERVING_STATE, SERVING);
  }
  try {
    const end = loop(device, session, words, new Bursts(options.shared));
    if (end === 'unmounted') passthrough?.closeAll();
    return end;
  } finally {
    Atomics.store(words, SERVING_STATE, SERVING_ENDED);
    syncer.close();
    descriptors.closeAll();
    log.close();
    lockFile.close();
  }
}

/** One request after the other. A handover comes with a wake-up. */
function loop(device: Device, session: Session, words: Int32Array, bursts: Bursts): ServingEnd {
  const request = Buffer.alloc(REQUEST_BUFFER_BYTES);
  for (;;) {
    const length = device.read(request);
    if (length === 0) return 'unmounted';
    bursts.request();
    const opcode = headerOpcode(request);
    if (opcode < OPCODE_COUNTERS) words[OPCODES + opcode]!++;
    session.handle(request, length);
    // Whatever came: the notification itself may be lost, or come late.
    if (Atomics.load(words, WAKE_PENDING) === 1) session.wake();
    words[DEFERRED] = session.waiting;
    if (session.full) waitForRoom(session, words);
    if (words[HAND_OVER] === 1) return 'handed over';
  }
}

/**
 * No request is read until some of those that wait are done: the applications that make more wait in the kernel, instead
 * of getting an error. Main, for which the others wait, waits for no request; its wake-ups come by the shared word alone.
 */
function waitForRoom(session: Session, words: Int32Array): void {
  while (session.full && words[HAND_OVER] === 0) {
    if (Atomics.load(words, WAKE_PENDING) === 0) Atomics.wait(words, WAKE_PENDING, 0, ROOM_POLL_MS);
    else session.wake();
    words[DEFERRED] = session.waiting;
  }
}

/** The fuse device of one mount. */
class Device {
  readonly #fd: number;
  readonly #log: ((message: string) => void) | undefined;
  readonly #header = Buffer.alloc(OUT_HEADER);

  constructor(fd: number, log: ((message: string) => void) | undefined) {
    this.#fd = fd;
    this.#log = log;
  }

  /** Waits for a request. 0 when the mount is gone. */
  read(into: Buffer): number {
    for (;;) {
      try {
        return readDevice(this.#fd, into, 0, into.length, null);
      } catch (error) {
        const code = errorCode(error);
        // ENODEV: unmounted. ECONNABORTED, EPERM: the connection was aborted, or never mounted.
        if (code === 'EINTR' || code === 'EAGAIN' || code === 'ENOENT') continue;
        if (code !== 'ENODEV') this.#log?.(`file system: reading requests failed: ${code ?? String(error)}`);
        return 0;
      }
    }
  }

  send(reply: Buffer, bytes: number): void {
    try {
      writeDevice(this.#fd, reply, 0, bytes);
    } catch (error) {
      const code = errorCode(error);
      // ENOENT: whoever asked was killed. ENODEV: unmounted.
      if (code === 'ENOENT' || code === 'ENODEV') return;
      this.#log?.(`file system: a reply of ${bytes} bytes was refused: ${code ?? String(error)}`);
    }
  }

  answer(uniqueLow: number, uniqueHigh: number, errno: number): void {
    writeHeader(this.#header, 0, errno, uniqueLow, uniqueHigh);
    this.send(this.#header, OUT_HEADER);
  }

  /** Has the kernel send again what an earlier process read and did not answer. */
  notifyResend(): void {
    const bytes = Buffer.alloc(OUT_HEADER);
    bytes.writeUInt32LE(OUT_HEADER, 0);
    bytes.writeInt32LE(NOTIFY_RESEND, 4);
    this.send(bytes, OUT_HEADER);
  }
}

function readSaved(path: string): SavedSession {
  let cause: unknown;
  try {
    const saved: unknown = JSON.parse(readFileSync(path, 'utf8'));
    if (isSaved(saved)) return saved;
  } catch (error) {
    cause = error;
  }
  throw new SluiceError(
    'FUSE_TAKEOVER',
    `Cannot take over the mount: ${path} cannot be read`,
    'Unmount it and mount again.',
    { cause },
  );
}

/** Whether a process wrote it: what it negotiated as a whole, and a number that can be counted up. */
function isSaved(saved: unknown): saved is SavedSession {
  if (typeof saved !== 'object' || saved === null || !('incarnation' in saved) || !('negotiated' in saved))
    return false;
  const { incarnation, negotiated } = saved;
  return Number.isSafeInteger(incarnation) && typeof negotiated === 'object' && negotiated !== null;
}

function writeSaved(path: string, saved: SavedSession): void {
  writeFileSync(`${path}.new`, JSON.stringify(saved));
  renameSync(`${path}.new`, path);
}

/** Where it stands, with a later incarnation: a full disk, which has no room for another file, must not cost the mount. */
function overwriteSaved(path: string, saved: SavedSession): void {
  const fd = openSync(path, 'r+');
  try {
    // Never shorter than what was there, and too short for a kill to come in between.
    writeSync(fd, JSON.stringify(saved), 0);
  } finally {
    closeSync(fd);
  }
}
