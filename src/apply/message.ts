import { Packr } from 'msgpackr';
import { SluiceError } from '../errors.js';
import type { WalIndexHeader } from '../sqlite/index.js';
import { MAX_LTX_BYTES } from './limits.js';

/**
 * What goes through the pipes between the node and its applier process.
 *
 * ```
 * u32 LE bytes of the rest | u32 LE bytes of the head | head, msgpack | LTX bytes, raw
 * ```
 */
const PREFIX_SIZE = 8;
const MAX_HEAD_BYTES = 1 << 20;

export type Operation =
  | 'open'
  | 'apply'
  | 'replace'
  | 'drop'
  | 'checkpoint'
  | 'halt'
  | 'commit'
  | 'release'
  | 'create'
  | 'close'
  | 'look'
  | 'stop';

/** Node to process. */
export interface RequestHead {
  readonly id: number;
  readonly op: Operation;
  readonly name: string;
  /** Requests for one database with the same number fail together once one of them has failed. */
  readonly chain: number;
  readonly file?: { readonly path: string; readonly offset: number; readonly size: number };
  readonly mode?: 'passive' | 'truncate';
  /** How long a `halt` may wait for the lock. */
  readonly limitMs?: number;
}

/** Process to node: that it is up, the end of a request, or a line for the log. */
export type ReplyHead =
  | { readonly kind: 'ready'; readonly threads: readonly number[] }
  | {
      readonly kind: 'done';
      readonly id: number;
      readonly value: number;
      /** Of a `look` at a database in WAL mode. */
      readonly wal?: WalIndexHeader;
    }
  | {
      readonly kind: 'failed';
      readonly id: number;
      readonly code: string;
      readonly message: string;
      readonly hint: string;
    }
  | { readonly kind: 'log'; readonly level: 'debug' | 'info' | 'warn'; readonly name: string; readonly text: string };

const packr = new Packr({ useRecords: false });

/** Everything before the LTX bytes, which are `extraBytes` long. */
export function encodeMessage(head: RequestHead | ReplyHead, extraBytes: number): Buffer {
  const packed = packr.pack(head);
  const message = Buffer.allocUnsafe(PREFIX_SIZE + packed.length);
  message.writeUInt32LE(4 + packed.length + extraBytes, 0);
  message.writeUInt32LE(packed.length, 4);
  packed.copy(message, PREFIX_SIZE);
  return message;
}

/** Cuts a pipe's bytes into messages. Each message's LTX bytes are the receiver's to keep. */
export class MessageReader<Head> {
  private readonly prefix = Buffer.alloc(PREFIX_SIZE);
  private prefixBytes = 0;
  private body: Buffer | undefined;
  private bodyBytes = 0;

  constructor(private readonly receive: (head: Head, extra: Buffer) => void) {}

  /** Throws `APPLIER_PROTOCOL` if the bytes cannot be messages. */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.body === undefined) at = this.readPrefix(chunk, at);
      else at = this.readBody(chunk, at, this.body);
    }
  }

  private readPrefix(chunk: Buffer, at: number): number {
    const taken = chunk.copy(this.prefix, this.prefixBytes, at);
    this.prefixBytes += taken;
    if (this.prefixBytes < PREFIX_SIZE) return at + taken;
    const size = this.prefix.readUInt32LE(0) - 4;
    const headSize = this.prefix.readUInt32LE(4);
    if (headSize > MAX_HEAD_BYTES || headSize === 0 || size < headSize || size - headSize > MAX_LTX_BYTES) {
      throw new SluiceError('APPLIER_PROTOCOL', `applier: impossible message of ${size} bytes, head ${headSize}`);
    }
    this.body = Buffer.allocUnsafe(size);
    this.bodyBytes = 0;
    return at + taken;
  }

  private readBody(chunk: Buffer, at: number, body: Buffer): number {
    const taken = chunk.copy(body, this.bodyBytes, at);
    this.bodyBytes += taken;
    if (this.bodyBytes === body.length) {
      const headSize = this.prefix.readUInt32LE(4);
      this.body = undefined;
      this.prefixBytes = 0;
      this.receive(unpacked<Head>(body.subarray(0, headSize)), body.subarray(headSize));
    }
    return at + taken;
  }
}

function unpacked<Head>(bytes: Buffer): Head {
  try {
    return packr.unpack(bytes) as Head;
  } catch (cause) {
    throw new SluiceError('APPLIER_PROTOCOL', 'applier: a message whose head is no msgpack', '', { cause });
  }
}
