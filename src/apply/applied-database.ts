import { describeError, errorCode, SluiceError } from '../errors.js';
import { LtxFile } from './ltx-file.js';
import type { ReplyHead, RequestHead } from './message.js';
import { DatabaseOperations, type Shared } from './operations.js';
import type { Turn } from './turn.js';
import type { LtxLocation } from './types.js';

/** A request as it came, with its LTX bytes. */
export interface Request {
  readonly head: RequestHead;
  readonly ltx: Buffer;
}

/** One database of the process: its requests, answered one after the other while other databases go on. */
export class AppliedDatabase {
  private readonly operations: DatabaseOperations;
  private readonly turn: Turn;
  private readonly queue: Request[] = [];
  private running: Promise<void> | undefined;
  private upkeepDue = false;
  /** After a failure: what was sent before the node knew of it must not be applied on top. */
  private failedChain = -1;

  constructor(
    readonly name: string,
    shared: Shared,
    private readonly reply: (head: ReplyHead) => void,
  ) {
    this.turn = shared.turn;
    this.operations = new DatabaseOperations(name, shared, () => {
      this.upkeepDue = true;
      this.start();
    });
  }

  push(request: Request): void {
    // Whoever asks may be whom what is under way waits for.
    if (request.head.op === 'look' && this.operations.isOpen) {
      void this.answer(request);
      return;
    }
    this.queue.push(request);
    this.start();
  }

  /** Waits for what runs, then closes the database, unless only the end of the process may. */
  async end(): Promise<void> {
    await this.running;
    await this.operations.end();
  }

  private start(): void {
    this.running ??= this.drain();
  }

  private async drain(): Promise<void> {
    await undefined; // so that `running` is set before anything clears it
    for (let request = this.queue.shift(); request !== undefined || this.upkeepDue; request = this.queue.shift()) {
      if (request !== undefined) await this.answer(request);
      if (this.upkeepDue) this.tryUpkeep();
    }
    this.running = undefined;
  }

  private async answer(request: Request): Promise<void> {
    const { head } = request;
    try {
      if (head.op !== 'look' || !this.operations.isOpen) await this.run(request);
      if (head.op === 'checkpoint') this.answerLater(head);
      else this.reply({ kind: 'done', id: head.id, ...this.resultOf(head) });
    } catch (error) {
      if (head.op === 'apply' || head.op === 'replace') this.failedChain = head.chain;
      this.reply(this.failure(head, error));
    }
  }

  /** A checkpoint on the other thread does not hold up the transactions behind it. */
  private answerLater(head: RequestHead): void {
    this.operations.checkpoint(head.mode ?? 'passive').then(
      (value) => this.reply({ kind: 'done', id: head.id, value }),
      (error: unknown) => this.reply(this.failure(head, error)),
    );
  }

  private resultOf({ op }: RequestHead): Pick<Extract<ReplyHead, { kind: 'done' }>, 'value' | 'wal'> {
    if (op === 'halt') return { value: this.operations.isHalted ? 1 : 0 };
    if (op !== 'look') return { value: 0 };
    const wal = this.operations.walIndex();
    return wal === undefined ? { value: 0 } : { value: 0, wal };
  }

  private async run({ head, ltx }: Request): Promise<void> {
    this.turn.check();
    switch (head.op) {
      case 'open':
      case 'look':
      case 'checkpoint':
        return this.operations.open();
      case 'halt':
        return this.operations.halt(head.limitMs ?? 0);
      case 'release':
        return this.operations.release();
      case 'close':
        await this.operations.end();
        return;
      case 'drop':
        return this.operations.drop();
      case 'commit':
      case 'create':
        return this.runWith(head, new LtxFile(locate(head, ltx)));
      case 'apply':
      case 'replace':
        if (head.chain === this.failedChain) {
          throw new SluiceError('APPLY_FAILED', `${this.name}: not applied, since what came before it was not`);
        }
        return this.runWith(head, new LtxFile(locate(head, ltx)));
      default:
        throw new SluiceError('APPLIER_PROTOCOL', `applier: no such operation: ${head.op}`);
    }
  }

  private async runWith(head: RequestHead, ltx: LtxFile): Promise<void> {
    try {
      if (head.op === 'commit') await this.operations.commit(ltx);
      else if (head.op === 'create') await this.operations.create(ltx);
      else await (head.op === 'apply' ? this.operations.apply(ltx) : this.operations.replace(ltx));
    } finally {
      ltx.close();
    }
  }

  private tryUpkeep(): void {
    this.upkeepDue = false;
    try {
      this.operations.runUpkeep();
    } catch (error) {
      this.reply({ kind: 'log', level: 'warn', name: this.name, text: `upkeep: ${describeError(error)}` });
    }
  }

  private failure(head: RequestHead, error: unknown): ReplyHead {
    if (error instanceof SluiceError) {
      return { kind: 'failed', id: head.id, code: error.code, message: error.message, hint: error.hint };
    }
    const code = errorCode(error);
    const message = `${head.op} ${this.name}: ${code === undefined ? '' : `${code}: `}${describeError(error)}`;
    return { kind: 'failed', id: head.id, code: 'APPLY_FAILED', message, hint: '' };
  }
}

function locate(head: RequestHead, ltx: Buffer): LtxLocation {
  return head.file === undefined ? { kind: 'bytes', bytes: ltx } : { kind: 'file', ...head.file };
}
