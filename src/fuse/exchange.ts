import type { Backing, Result } from './backing.js';
import { EINVAL, EIO } from './errno.js';
import { nameOf } from './file-name.js';
import type { Negotiated } from './negotiation.js';
import type { Folder, Node } from './nodes.js';
import type { Passthrough } from './passthrough.js';
import * as p from './protocol.js';
import * as w from './reply.js';
import * as r from './request.js';

/** Entries and attributes stay valid in the kernel: nothing changes but through it. */
export const LONG_S = 86_400;
/** What the kernel must ask for each time. */
export const NEVER_CACHED_S = 0;

/** A handle's lower digits are the incarnation, its upper ones a number of its own where handles must differ. */
const INCARNATIONS = 0x10_0000;

/** The request that is being answered, and the reply being written. */
export class Exchange {
  readonly backing: Backing;
  /** Which process of the mount this is, from 1. */
  readonly #incarnation: number;
  #handles = 0;
  readonly out = Buffer.alloc(p.REPLY_BUFFER_BYTES);
  /** Undefined before INIT. */
  negotiated: Negotiated | undefined;
  length = 0;
  uniqueLow = 0;
  uniqueHigh = 0;

  constructor(
    backing: Backing,
    incarnation: number,
    negotiated: Negotiated | undefined,
    private readonly passthrough?: Passthrough,
  ) {
    this.backing = backing;
    this.#incarnation = incarnation % INCARNATIONS;
    this.negotiated = negotiated;
  }

  /** The node that the request is about. */
  node(request: Buffer): Node | undefined {
    return this.backing.table.get(r.headerNodeId(request));
  }

  folder(request: Buffer): Folder | undefined {
    const node = this.node(request);
    return node?.kind === 'folder' ? node : undefined;
  }

  /** The name at `start`, or a negative errno. */
  name(request: Buffer, start: number): string | Result {
    const end = r.nameEnd(request, start, this.length);
    if (end < 0) return -EINVAL;
    const errno = r.checkName(request, start, end);
    return errno !== 0 ? -errno : nameOf(request, start, end);
  }

  /** The kernel sent this request before, to a process that died. */
  get again(): boolean {
    return this.uniqueHigh >= p.UNIQUE_RESEND_HIGH;
  }

  /**
   * For the reply to OPEN and CREATE. It says which process opened the file; and where locks are ours which open it was,
   * because an open-file-description lock ends with it.
   */
  newHandle(): number {
    if (this.negotiated?.locks !== 'sluice') return this.#incarnation;
    return ++this.#handles * INCARNATIONS + this.#incarnation;
  }

  /** Whether the handle was opened in this process. */
  isOurs(handle: number): boolean {
    return handle % INCARNATIONS === this.#incarnation;
  }

  /** Answers OPEN and CREATE, `at` bytes into the body. Where locks are the kernel's, a close has nothing to tell us. */
  writeOpen(at: number, node: Node): Result {
    const noFlush = this.negotiated?.locks === 'sluice' ? 0 : p.FOPEN_NOFLUSH;
    const handle = this.newHandle();
    if (node.kind === 'virtual') return w.writeOpen(this.out, at, handle, p.FOPEN_DIRECT_IO);
    const backingId = node.kind === 'file' ? (this.passthrough?.backingOf(node) ?? 0) : 0;
    if (backingId < 0) return -EIO;
    if (backingId > 0) return w.writeOpen(this.out, at, handle, p.FOPEN_PASSTHROUGH | noFlush, backingId);
    return w.writeOpen(this.out, at, handle, p.FOPEN_KEEP_CACHE | noFlush);
  }
}
