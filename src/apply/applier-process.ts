import { SluiceError } from '../errors.js';
import { AppliedDatabase, type Request } from './applied-database.js';
import { Checkpointer } from './checkpointer.js';
import { ExclusiveLock } from './exclusive-lock.js';
import { encodeMessage, MessageReader, type ReplyHead, type RequestHead } from './message.js';
import type { Shared } from './operations.js';
import { Turn } from './turn.js';

/**
 * The applier's process: `node applier-process.js MOUNT thread|loop`. Requests on stdin, replies on stdout. It touches
 * nothing under the mount before the first request, and ends when stdin does, so it never outlives the node.
 */
const nowMs = (): number => performance.now();

class ApplierProcess {
  private readonly databases = new Map<string, AppliedDatabase>();
  private readonly turn = new Turn();
  private shared: Shared | undefined;
  private stopping = false;

  constructor(
    private readonly mount: string,
    private readonly reply: (head: ReplyHead) => void,
  ) {}

  async start(withThread: boolean): Promise<void> {
    const thread = withThread ? await Checkpointer.start(endWith) : undefined;
    this.shared = {
      mount: this.mount,
      turn: this.turn,
      exclusive: new ExclusiveLock(nowMs),
      checkpointer: thread?.checkpointer,
      nowMs,
      log: (level, name, text) => this.reply({ kind: 'log', level, name, text }),
    };
    this.reply({ kind: 'ready', threads: thread === undefined ? [] : [thread.threadId] });
  }

  receive(request: Request): void {
    const { head } = request;
    if (head.op === 'stop') void this.stop(head.id);
    else this.database(head.name).push(request);
  }

  private database(name: string): AppliedDatabase {
    if (this.shared === undefined) throw new SluiceError('APPLIER_PROTOCOL', 'applier: a request before it is ready');
    let database = this.databases.get(name);
    if (database === undefined) {
      database = new AppliedDatabase(name, this.shared, this.reply);
      this.databases.set(name, database);
    }
    return database;
  }

  private async stop(id: number): Promise<void> {
    if (this.stopping) return;
    this.stopping = true;
    this.turn.stop();
    for (const database of this.databases.values()) await database.end();
    await this.shared?.checkpointer?.stop();
    this.reply({ kind: 'done', id, value: 0 });
    die(); // an ordinary exit closes the connections that must not be closed
  }
}

/** The node sees the exit and starts another. */
function endWith(error: Error): never {
  process.stderr.write(`${error.stack ?? error.message}\n`);
  process.exit(1);
}

/**
 * The node is gone, or has asked for it. Not `exit`, which waits for a checkpoint on the other thread, and so for a mount
 * that nobody may serve any more. What is half-written readers are protected from.
 */
function die(): void {
  process.kill(process.pid, 'SIGKILL');
}

const [mount = '', mode = 'loop'] = process.argv.slice(2);
const applier = new ApplierProcess(mount, (head) => process.stdout.write(encodeMessage(head, 0)));
const reader = new MessageReader<RequestHead>((head, ltx) => applier.receive({ head, ltx }));
process.stdin.on('data', (chunk: Buffer) => reader.push(chunk));
process.stdin.on('end', die);
process.stdin.on('error', die);
process.stdout.on('error', die);
// A terminal's Ctrl-C goes to the whole group; when to end is the node's decision.
process.on('SIGINT', () => undefined);
process.on('SIGTERM', () => undefined);
process.on('uncaughtException', endWith);
process.on('unhandledRejection', (error) => endWith(error instanceof Error ? error : new Error(String(error))));
await applier.start(mode === 'thread');
