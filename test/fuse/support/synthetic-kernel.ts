import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Backing } from '../../../src/fuse/backing.js';
import { Descriptors } from '../../../src/fuse/descriptors.js';
import type { Sync } from '../../../src/fuse/file-requests.js';
import type { Watcher } from '../../../src/fuse/index.js';
import type { MayLock } from '../../../src/fuse/lock-table.js';
import { NodeLog } from '../../../src/fuse/node-log.js';
import { NodeTable, type RegularFile } from '../../../src/fuse/nodes.js';
import * as p from '../../../src/fuse/protocol.js';
import { Session } from '../../../src/fuse/session.js';
import { takeOver } from '../../../src/fuse/takeover.js';
import { PassiveWatcher } from './passive-watcher.js';

export interface Reply {
  readonly unique: bigint;
  readonly errno: number;
  readonly body: Buffer;
}

const ROOT = 1;

/** A session over a fresh folder, and the kernel's side of the conversation with it, without a mount. */
export class SyntheticKernel {
  readonly folder = mkdtempSync(join(tmpdir(), 'sluice-session-'));
  /** The folder of the first of those that resumed each other. */
  readonly home: string;
  readonly replies: Reply[] = [];
  readonly logged: string[] = [];
  readonly synced: string[] = [];
  readonly table: NodeTable;
  readonly session: Session;
  readonly descriptors: Descriptors;
  uid = process.getuid?.() ?? 0;
  gid = process.getgid?.() ?? 0;
  #unique = 100n;

  constructor(
    locks: 'kernel' | 'sluice' = 'kernel',
    watcher: Watcher = new PassiveWatcher(),
    mayLock?: MayLock,
    readonly resumed?: SyntheticKernel,
    /** Where the log of nodes is, if not in `home`. */
    logFolder?: string,
  ) {
    this.home = resumed?.home ?? this.folder;
    const { home } = this;
    mkdirSync(`${home}/backing`, { recursive: true });
    mkdirSync(`${home}/orphans`, { recursive: true });
    this.descriptors = new Descriptors(`${home}/backing`, `${home}/orphans`, 8, () => false);
    this.table = new NodeTable(this.descriptors);
    const backing: Backing = {
      folder: `${home}/backing`,
      table: this.table,
      descriptors: this.descriptors,
      watcher,
    };
    const nodes = `${logFolder ?? home}/nodes`;
    const log = resumed === undefined ? NodeLog.create(nodes) : NodeLog.resume(nodes, this.table.records);
    if (resumed !== undefined) takeOver(backing, `${home}/orphans`);
    this.table.record(log, resumed !== undefined);
    const sync: Sync = {
      file: (low, high, file: RegularFile) => this.#synced(low, high, file.path),
      folder: (low, high, path) => this.#synced(low, high, path.toString()),
    };
    this.session = new Session({
      backing,
      negotiated: undefined,
      locks,
      incarnation: resumed === undefined ? 1 : 2,
      reply: (bytes, length) => this.#receive(bytes, length),
      sync,
      onNegotiated: () => undefined,
      onWake: () => undefined,
      mayLock,
      log: (message) => this.logged.push(message),
    });
  }

  #synced(low: number, high: number, what: string): void {
    this.synced.push(what);
    this.replies.push({ unique: (BigInt(high) << 32n) | BigInt(low), errno: 0, body: Buffer.alloc(0) });
  }

  #receive(bytes: Buffer, length: number): void {
    if (bytes.readUInt32LE(0) !== length) throw new Error('a reply lies about its length');
    this.replies.push({
      unique: bytes.readBigUInt64LE(8),
      errno: -bytes.readInt32LE(4),
      body: Buffer.from(bytes.subarray(16, length)),
    });
  }

  /** A whole request. */
  request(opcode: number, node: number, body: Buffer = Buffer.alloc(0), unique: bigint = this.#unique++): Buffer {
    const header = Buffer.alloc(40);
    header.writeUInt32LE(40 + body.length, 0);
    header.writeUInt32LE(opcode, 4);
    header.writeBigUInt64LE(unique, 8);
    header.writeBigUInt64LE(BigInt(node), 16);
    header.writeUInt32LE(this.uid, 24);
    header.writeUInt32LE(this.gid, 28);
    header.writeUInt32LE(4711, 32);
    return Buffer.concat([header, body]);
  }

  /** Sends one and returns its reply; undefined if there was none. */
  send(opcode: number, node: number, body?: Buffer, unique?: bigint): Reply | undefined {
    const request = this.request(opcode, node, body, unique);
    const before = this.replies.length;
    this.session.handle(request, request.length);
    return this.replies.slice(before).find((reply) => reply.unique === request.readBigUInt64LE(8));
  }

  /** The same, for what must be answered without an error. */
  ok(opcode: number, node: number, body?: Buffer): Buffer {
    const reply = this.send(opcode, node, body);
    if (reply === undefined) throw new Error(`opcode ${opcode} was not answered`);
    if (reply.errno !== 0) throw new Error(`opcode ${opcode} failed with errno ${reply.errno}`);
    return reply.body;
  }

  errno(opcode: number, node: number, body?: Buffer): number | undefined {
    return this.send(opcode, node, body)?.errno;
  }

  init(): Buffer {
    return this.ok(p.FUSE_INIT, 0, initBody());
  }

  /** Node id of a name, 0 if it does not exist. */
  lookup(name: string, folder = ROOT): number {
    return Number(this.ok(p.FUSE_LOOKUP, folder, nameBody(name)).readBigUInt64LE(0));
  }

  /** Node id of a new, open file. */
  create(name: string, folder = ROOT): number {
    return Number(this.ok(p.FUSE_CREATE, folder, createBody(name)).readBigUInt64LE(0));
  }

  /** The handle of an open. */
  open(node: number): number {
    return Number(this.ok(p.FUSE_OPEN, node, openBody()).readBigUInt64LE(0));
  }

  write(node: number, position: number, text: string): number | undefined {
    return this.send(p.FUSE_WRITE, node, writeBody(position, Buffer.from(text)))?.errno;
  }

  read(node: number): string {
    return this.ok(p.FUSE_READ, node, readBody(0, 65536)).toString();
  }

  release(node: number, handle = 1): void {
    const body = Buffer.alloc(24);
    body.writeBigUInt64LE(BigInt(handle), 0);
    body.writeUInt32LE(2, 8);
    this.ok(p.FUSE_RELEASE, node, body);
  }

  forget(node: number, count: number): void {
    const body = Buffer.alloc(8);
    body.writeUInt32LE(count, 0);
    this.send(p.FUSE_FORGET, node, body);
  }

  close(): void {
    this.descriptors.closeAll();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export const nameBody = (...names: string[]): Buffer => Buffer.from(`${names.join('\0')}\0`);

export function createBody(name: string, flags = 0o102 /* O_RDWR | O_CREAT */, mode = 0o100644): Buffer {
  const fields = Buffer.alloc(16);
  fields.writeUInt32LE(flags, 0);
  fields.writeUInt32LE(mode, 4);
  return Buffer.concat([fields, nameBody(name)]);
}

export function renameBody(newFolder: number, name: string, newName: string, flags = 0): Buffer {
  const fields = Buffer.alloc(16);
  fields.writeBigUInt64LE(BigInt(newFolder), 0);
  fields.writeUInt32LE(flags, 8);
  return Buffer.concat([fields, nameBody(name, newName)]);
}

export function openBody(flags = 2): Buffer {
  const fields = Buffer.alloc(8);
  fields.writeUInt32LE(flags, 0);
  return fields;
}

export function readBody(offset: number, size: number): Buffer {
  const fields = Buffer.alloc(40);
  fields.writeBigUInt64LE(BigInt(offset), 8);
  fields.writeUInt32LE(size, 16);
  return fields;
}

export function writeBody(position: number, data: Buffer): Buffer {
  return Buffer.concat([readBody(position, data.length), data]);
}

export function lockBody(owner: bigint, type: number, start: bigint, end: bigint, pid = 5, handle = 0): Buffer {
  const fields = Buffer.alloc(48);
  fields.writeBigUInt64LE(BigInt(handle), 0);
  fields.writeBigUInt64LE(owner, 8);
  fields.writeBigUInt64LE(start, 16);
  fields.writeBigUInt64LE(end, 24);
  fields.writeUInt32LE(type, 32);
  fields.writeUInt32LE(pid, 36);
  return fields;
}

export function initBody(major = 7, minor = 45): Buffer {
  const fields = Buffer.alloc(64);
  fields.writeUInt32LE(major, 0);
  fields.writeUInt32LE(minor, 4);
  fields.writeUInt32LE(131072, 8);
  fields.writeUInt32LE(0xffff_ffff, 12);
  fields.writeUInt32LE(0xffff_ffff, 16);
  return fields;
}
