import { SluiceError } from '../errors.js';
import { MAX_IN_FLIGHT, MAX_IN_FLIGHT_BYTES, MAX_LTX_BYTES, MAX_WAITING, MAX_WAITING_BYTES } from './limits.js';
import type { Operation, ReplyHead, RequestHead } from './message.js';
import type { LtxLocation } from './types.js';

/** What the process says at the end of a call. */
export type Done = Pick<Extract<ReplyHead, { kind: 'done' }>, 'value' | 'wal'>;

/** What a call needs beside its operation and database. */
export interface CallDetails {
  readonly ltx?: LtxLocation;
  readonly mode?: 'passive' | 'truncate';
  readonly limitMs?: number;
}

interface Call {
  readonly head: RequestHead;
  readonly bytes: Uint8Array | undefined;
  readonly resolve: (done: Done) => void;
  readonly reject: (error: SluiceError) => void;
}

/** The calls for one database: those that the process has, and those that wait here until it has room. */
class Lane {
  readonly waiting: Call[] = [];
  waitingBytes = 0;
  inFlight = 0;
  inFlightBytes = 0;

  constructor(public chain: number) {}
}

/** The calls that the node has made of its applier, in order per database, none of which is lost without a word. */
export class Requests {
  private readonly lanes = new Map<string, Lane>();
  private readonly sent = new Map<number, Call>();
  private lastId = 0;
  private lastChain = 0;

  /** `send` writes a request to the process; undefined while there is none that is ready. */
  constructor(private send: ((head: RequestHead, bytes: Uint8Array | undefined) => void) | undefined) {}

  call(op: Operation, name: string, more: CallDetails): Promise<Done> {
    const { ltx, mode, limitMs } = more;
    const bytes = ltx?.kind === 'bytes' ? ltx.bytes : undefined;
    const lane = this.lane(name);
    const size = bytes?.length ?? 0;
    if (size > MAX_LTX_BYTES || lane.waiting.length >= MAX_WAITING || lane.waitingBytes + size > MAX_WAITING_BYTES) {
      const what = size > MAX_LTX_BYTES ? `an LTX of ${size} bytes` : `${lane.waiting.length} requests waiting`;
      return Promise.reject(new SluiceError('APPLIER_FULL', `${op} ${name}: ${what} is too much for the applier`));
    }
    const head: RequestHead = {
      id: ++this.lastId,
      op,
      name,
      chain: lane.chain,
      ...(ltx?.kind === 'file' ? { file: { path: ltx.path, offset: ltx.offset, size: ltx.size } } : {}),
      ...(mode === undefined ? {} : { mode }),
      ...(limitMs === undefined ? {} : { limitMs }),
    };
    return new Promise((resolve, reject) => {
      lane.waiting.push({ head, bytes, resolve, reject });
      lane.waitingBytes += size;
      this.fill(lane);
    });
  }

  /** A process is ready. */
  connect(send: (head: RequestHead, bytes: Uint8Array | undefined) => void): void {
    this.send = send;
    for (const lane of this.lanes.values()) this.fill(lane);
  }

  /** The process is gone: everything that was asked of it fails. */
  disconnect(error: SluiceError): void {
    this.send = undefined;
    const calls = [...this.sent.values(), ...[...this.lanes.values()].flatMap((lane) => lane.waiting)];
    this.sent.clear();
    this.lanes.clear();
    for (const call of calls) call.reject(error);
  }

  done(id: number, done: Done): void {
    this.take(id)?.resolve(done);
  }

  failed(id: number, error: SluiceError): void {
    const call = this.take(id);
    if (call === undefined) return;
    const { op, name } = call.head;
    if (op === 'apply' || op === 'replace') this.lane(name).chain = ++this.lastChain;
    call.reject(error);
  }

  private take(id: number): Call | undefined {
    const call = this.sent.get(id);
    if (call === undefined) return undefined;
    this.sent.delete(id);
    const lane = this.lane(call.head.name);
    lane.inFlight--;
    lane.inFlightBytes -= call.bytes?.length ?? 0;
    this.fill(lane);
    if (lane.inFlight === 0 && call.head.op === 'drop') this.lanes.delete(call.head.name);
    return call;
  }

  private lane(name: string): Lane {
    let lane = this.lanes.get(name);
    if (lane === undefined) {
      lane = new Lane(++this.lastChain);
      this.lanes.set(name, lane);
    }
    return lane;
  }

  private fill(lane: Lane): void {
    while (this.send !== undefined && lane.inFlight < MAX_IN_FLIGHT && lane.inFlightBytes <= MAX_IN_FLIGHT_BYTES) {
      const call = lane.waiting.shift();
      if (call === undefined) return;
      const size = call.bytes?.length ?? 0;
      lane.waitingBytes -= size;
      lane.inFlightBytes += size;
      lane.inFlight++;
      this.sent.set(call.head.id, call);
      this.send(call.head, call.bytes);
    }
  }
}
