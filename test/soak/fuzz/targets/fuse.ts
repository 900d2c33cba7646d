import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Backing } from '../../../../src/fuse/backing.js';
import { Descriptors } from '../../../../src/fuse/descriptors.js';
import { DEFER, type FileNode, type Verdict } from '../../../../src/fuse/index.js';
import { NodeLog } from '../../../../src/fuse/node-log.js';
import { NodeTable } from '../../../../src/fuse/nodes.js';
import * as p from '../../../../src/fuse/protocol.js';
import { Session } from '../../../../src/fuse/session.js';
import { PassiveWatcher } from '../../../fuse/support/passive-watcher.js';
import { initBody } from '../../../fuse/support/synthetic-kernel.js';
import type { Random } from '../random.js';
import { mustHold, type Target, type TargetOpener } from '../target.js';
import { randomRequest, requestWords } from './fuse-requests.js';

const CANARY = 'not to be touched';
const REQUESTS_MAX = 200;
const NO_REPLY = new Set([p.FUSE_FORGET, p.FUSE_BATCH_FORGET, p.FUSE_INTERRUPT, p.FUSE_NOTIFY_REPLY]);
const MAX_ERRNO = 133;

/**
 * A conversation with the kernel over a folder of its own. The input:
 *
 * ```
 * u8 bit 0: locks: sluice, bit 1: the watcher refuses and defers | requests: u16 length, then so many bytes, each
 * ```
 */
export const fuse: TargetOpener = {
  open: (folder): Target => ({
    seeds: [],
    dictionary: requestWords(),
    maxBytes: 32 << 10,
    make: (random) => conversation(random),
    run(input) {
      const home = mkdtempSync(join(folder, 'c-'));
      try {
        new Conversation(home, input).run();
        mustHold(readFileSync(join(home, 'canary'), 'utf8') === CANARY, 'a file outside was changed');
        mustHold(
          readdirSync(home).every((name) => ['canary', 'backing', 'orphans', 'nodes'].includes(name)),
          'a file outside was made',
        );
        mustHold(readdirSync(folder).length === 1, 'a file outside was made');
      } finally {
        rmSync(home, { recursive: true, force: true });
      }
    },
  }),
};

function conversation(random: Random): Buffer {
  const parts: Buffer[] = [random.bytes(1)];
  for (let left = 1 + random.below(REQUESTS_MAX); left > 0; left--) {
    const request = randomRequest(random);
    const length = Buffer.alloc(2);
    length.writeUInt16LE(request.length);
    parts.push(length, request);
  }
  return Buffer.concat(parts);
}

/** Verdicts as the input's bytes say. */
class MoodyWatcher extends PassiveWatcher {
  #at = 0;

  constructor(private readonly moods: Buffer) {
    super();
  }

  #mood(): Verdict {
    const byte = this.moods[this.#at++ % Math.max(1, this.moods.length)] ?? 0;
    return byte === 1 ? DEFER : byte === 2 ? 13 : 0;
  }

  override mayOpen(node: FileNode, flags: number, pid: number): Verdict {
    return super.mayOpen(node, flags, pid) || this.#mood();
  }
  override mayCreate(): Verdict {
    return this.#mood();
  }
  override mayWrite(): Verdict {
    return this.#mood();
  }
  override mayResize(): Verdict {
    return this.#mood();
  }
  override mayUnlink(): Verdict {
    return this.#mood();
  }
  override mayRename(): Verdict {
    return this.#mood();
  }
  override maySetAttributes(): Verdict {
    return this.#mood();
  }
  override mayChange(): Verdict {
    return this.#mood();
  }
  override virtual(path: string): Buffer | undefined {
    return path === '.primary' ? Buffer.from('ws://primary\n') : undefined;
  }
}

/** One session, and how often each of its requests was answered. */
class Conversation {
  readonly #session: Session;
  readonly #descriptors: Descriptors;
  readonly #log: NodeLog;
  /** Replies by number of the request. */
  readonly #replies: number[] = [];
  readonly #expected: boolean[] = [];
  #problem: string | undefined;

  constructor(
    home: string,
    private readonly input: Buffer,
  ) {
    writeFileSync(join(home, 'canary'), CANARY);
    mkdirSync(join(home, 'backing', 'f'), { recursive: true });
    mkdirSync(join(home, 'orphans'));
    writeFileSync(join(home, 'backing', 'a.db'), 'content');
    symlinkSync('../canary', join(home, 'backing', 'link'));
    symlinkSync('..', join(home, 'backing', 'out'));
    const options = input[0] ?? 0;
    this.#descriptors = new Descriptors(join(home, 'backing'), join(home, 'orphans'), 4, () => false);
    const table = new NodeTable(this.#descriptors);
    this.#log = NodeLog.create(join(home, 'nodes'));
    table.record(this.#log);
    const watcher = (options & 2) === 0 ? new PassiveWatcher() : new MoodyWatcher(input);
    const backing: Backing = { folder: join(home, 'backing'), table, descriptors: this.#descriptors, watcher };
    const answer = (low: number, high: number): void => this.#count(low, high);
    this.#session = new Session({
      backing,
      negotiated: undefined,
      locks: (options & 1) === 0 ? 'kernel' : 'sluice',
      incarnation: 1,
      reply: (bytes, length) => this.#receive(bytes, length),
      sync: { file: answer, folder: answer },
      onNegotiated: () => undefined,
      onWake: () => undefined,
      log: (message) => {
        this.#problem = message;
      },
    });
  }

  run(): void {
    try {
      const { input } = this;
      this.#send(this.#request(p.FUSE_INIT, initBody()));
      for (let at = 1; at + 2 <= input.length && this.#expected.length < REQUESTS_MAX; ) {
        const length = input.readUInt16LE(at);
        this.#send(Buffer.from(input.subarray(at + 2, at + 2 + length)));
        at += 2 + length;
      }
      this.#check();
    } finally {
      this.#descriptors.closeAll();
      this.#log.close();
    }
  }

  #request(opcode: number, body: Buffer): Buffer {
    const request = Buffer.concat([Buffer.alloc(40), body]);
    request.writeUInt32LE(request.length, 0);
    request.writeUInt32LE(opcode, 4);
    return request;
  }

  /** Each request gets a number of its own for its `unique`, all but the highest bit, which says that it comes again. */
  #send(bytes: Buffer): void {
    if (bytes.length < 40) {
      const before = this.#replies.length;
      this.#session.handle(bytes, bytes.length);
      mustHold(this.#replies.length === before, 'an answer to what is no request');
      return;
    }
    const number = this.#expected.length;
    bytes.writeUInt32LE(number, 8);
    bytes.writeUInt32LE((bytes.readUInt32LE(12) & 0x8000_0000) >>> 0, 12);
    this.#expected.push(!NO_REPLY.has(bytes.readUInt32LE(4)));
    this.#replies.push(0);
    this.#session.handle(bytes, bytes.length);
    // It is the caller's again.
    bytes.fill(0xee);
  }

  #receive(bytes: Buffer, length: number): void {
    const errno = -bytes.readInt32LE(4);
    mustHold(bytes.readUInt32LE(0) === length && length >= 16 && length <= bytes.length, 'a reply with a wrong length');
    mustHold(errno >= 0 && errno <= MAX_ERRNO && (errno === 0 || length === 16), `a reply with errno ${errno}`);
    this.#count(bytes.readUInt32LE(8), bytes.readUInt32LE(12));
  }

  #count(low: number, high: number): void {
    mustHold((high & 0x7fff_ffff) === 0 && low < this.#replies.length, 'a reply to nobody');
    this.#replies[low]!++;
  }

  /** Each was answered once, or waits. */
  #check(): void {
    for (const [number, count] of this.#replies.entries())
      mustHold(count <= (this.#expected[number] ? 1 : 0), `${count} replies to request ${number}`);
    const missing = this.#replies.filter((count, number) => count === 0 && this.#expected[number]).length;
    mustHold(
      missing === this.#session.waiting,
      `${missing} requests without a reply, ${this.#session.waiting} waiting`,
    );
    mustHold(this.#problem === undefined, `a mistake was logged: ${this.#problem}`);
  }
}
