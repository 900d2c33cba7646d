import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describeError, SluiceError } from '../errors.js';
import {
  FIRST_RESTART_MS,
  KILL_TIMEOUT_MS,
  LAST_RESTART_MS,
  LONG_LIFE_MS,
  START_TIMEOUT_MS,
  STOP_TIMEOUT_MS,
} from './limits.js';
import { encodeMessage, MessageReader, type ReplyHead, type RequestHead } from './message.js';
import { type CallDetails, type Done, Requests } from './requests.js';
import type { Applier, ApplierOptions, Halter, Looked, LtxLocation } from './types.js';

type Child = ChildProcessByStdio<Writable, Readable, Readable>;

const SCRIPT = fileURLToPath(new URL('./applier-process.js', import.meta.url));

/** The node's applier. Nothing runs before `start`. */
export function createApplier(options: ApplierOptions): Applier & Halter {
  return new ProcessApplier(options);
}

/** Starts the process, hands it the calls, and starts it again when it dies. */
class ProcessApplier implements Applier, Halter {
  private readonly requests = new Requests(undefined);
  private child: Child | undefined;
  private stopped = false;
  private restartMs = FIRST_RESTART_MS;
  private restartTimer: NodeJS.Timeout | undefined;

  constructor(private readonly options: ApplierOptions) {}

  get pid(): number | undefined {
    return this.child?.pid;
  }

  async start(): Promise<void> {
    try {
      await this.launch();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  async open(name: string): Promise<void> {
    await this.call('open', name);
  }

  async apply(name: string, ltx: LtxLocation): Promise<void> {
    await this.call('apply', name, { ltx });
  }

  async replace(name: string, ltx: LtxLocation): Promise<void> {
    await this.call('replace', name, { ltx });
  }

  async drop(name: string): Promise<void> {
    await this.call('drop', name);
  }

  async checkpoint(name: string, mode: 'passive' | 'truncate'): Promise<number> {
    return (await this.call('checkpoint', name, { mode })).value;
  }

  async halt(name: string, limitMs: number): Promise<boolean> {
    return (await this.call('halt', name, { limitMs })).value === 1;
  }

  async commit(name: string, ltx: LtxLocation): Promise<void> {
    await this.call('commit', name, { ltx });
  }

  async create(name: string, ltx: LtxLocation): Promise<void> {
    await this.call('create', name, { ltx });
  }

  async release(name: string): Promise<void> {
    await this.call('release', name);
  }

  async close(name: string): Promise<void> {
    await this.call('close', name);
  }

  async look(name: string): Promise<Looked> {
    return { wal: (await this.call('look', name)).wal };
  }

  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.restartTimer);
    const { child } = this;
    if (child !== undefined) await endChild(child, this.options.log);
    this.requests.disconnect(gone('the applier was stopped'));
  }

  private call(op: RequestHead['op'], name: string, more: CallDetails = {}): Promise<Done> {
    if (this.stopped) return Promise.reject(gone('the applier was stopped'));
    return this.requests.call(op, name, more);
  }

  /** Resolves when the process is ready for requests; rejects if it died before, which also leaves it ended. */
  private async launch(): Promise<void> {
    const { mount, onPid, onThread, log } = this.options;
    const startedMs = performance.now();
    // Never with the mount as its folder: the kernel would ask the node for it before the node has heard of the process.
    const child: Child = spawn(process.execPath, [SCRIPT, mount, onThread === undefined ? 'loop' : 'thread'], {
      cwd: '/',
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.child = child;
    const exited = new Promise<never>((_, reject) => {
      const died = (how: string): void => {
        if (this.child === child) this.died(how, performance.now() - startedMs);
        reject(gone(`the applier process ${how}`));
      };
      child.once('error', (error) => died(`could not be started: ${describeError(error)}`));
      child.once('exit', (code, signal) => died(`ended with ${signal ?? `code ${code}`}`));
    });
    exited.catch(() => undefined);
    child.stdin.on('error', () => undefined); // the exit says it too
    let lastWords = '';
    child.stderr.on('data', (text: Buffer) => {
      lastWords = text.toString().trimEnd();
      log.warn({ pid: child.pid }, `applier: ${lastWords}`);
    });
    const ready = this.listen(child);
    const timer = setTimeout(() => child.kill('SIGKILL'), START_TIMEOUT_MS);
    try {
      const threads = await Promise.race([ready, exited]);
      await onPid(child.pid!);
      for (const thread of threads) await onThread?.(thread);
    } catch (error) {
      child.kill('SIGKILL');
      throw lastWords === '' ? error : gone(`${describeError(error)}: ${lastWords.split('\n').at(-1)}`);
    } finally {
      clearTimeout(timer);
    }
    if (child.exitCode !== null || child.signalCode !== null || this.stopped) throw gone('the applier process ended');
    this.requests.connect((head, bytes) => writeRequest(child, head, bytes));
    log.info({ pid: child.pid }, 'applier started');
  }

  /** Takes the process's replies; resolves with the ids of its threads when it says that it is ready. */
  private listen(child: Child): Promise<readonly number[]> {
    return new Promise((resolve) => {
      const reader = new MessageReader<ReplyHead>((reply) => {
        if (this.child !== child) return;
        if (reply.kind === 'ready') resolve(reply.threads);
        else this.receive(reply);
      });
      child.stdout.on('data', (chunk: Buffer) => {
        try {
          reader.push(chunk);
        } catch (error) {
          this.options.log.error({ pid: child.pid }, describeError(error));
          child.kill('SIGKILL');
        }
      });
    });
  }

  private receive(reply: Exclude<ReplyHead, { kind: 'ready' }>): void {
    if (reply.kind === 'done') this.requests.done(reply.id, reply);
    else if (reply.kind === 'log') this.options.log[reply.level]({ db: reply.name }, `applier: ${reply.text}`);
    else this.requests.failed(reply.id, new SluiceError(reply.code, reply.message, reply.hint));
  }

  private died(how: string, lifeMs: number): void {
    this.child = undefined;
    this.requests.disconnect(gone(`the applier process ${how}`));
    if (this.stopped) return;
    if (lifeMs > LONG_LIFE_MS) this.restartMs = FIRST_RESTART_MS;
    this.options.log.warn({ restartMs: this.restartMs }, `the applier process ${how}; it will be started again`);
    this.restartTimer = setTimeout(() => this.restart(), this.restartMs);
    this.restartMs = Math.min(this.restartMs * 2, LAST_RESTART_MS);
  }

  private restart(): void {
    this.launch().then(
      () => this.options.onRestart?.(),
      (error: unknown) => this.options.log.warn({}, describeError(error)),
    );
  }
}

/** One write to the pipe, and no copy of the LTX. */
function writeRequest(child: Child, head: RequestHead, bytes: Uint8Array | undefined): void {
  const message = encodeMessage(head, bytes?.length ?? 0);
  if (bytes === undefined) {
    child.stdin.write(message);
    return;
  }
  child.stdin.cork();
  child.stdin.write(message);
  child.stdin.write(bytes);
  child.stdin.uncork();
}

/** Asks it to end, and kills it if it does not. */
async function endChild(child: Child, log: ApplierOptions['log']): Promise<void> {
  const exited = new Promise<true>((resolve) => child.once('exit', () => resolve(true)));
  if (child.exitCode !== null || child.signalCode !== null) return;
  writeRequest(child, { id: 0, op: 'stop', name: '', chain: 0 }, undefined);
  if (await within(exited, STOP_TIMEOUT_MS)) return;
  log.warn({ pid: child.pid }, 'the applier process does not end, killing it');
  child.kill('SIGKILL');
  if (!(await within(exited, KILL_TIMEOUT_MS))) log.error({ pid: child.pid }, 'the applier process cannot be killed');
}

/** Whether it happens in time. */
async function within(event: Promise<true>, timeoutMs: number): Promise<boolean> {
  const timeout = new AbortController();
  const late = delay(timeoutMs, false, { signal: timeout.signal }).catch(() => false);
  const inTime = await Promise.race([event, late]);
  timeout.abort();
  return inTime;
}

function gone(message: string): SluiceError {
  return new SluiceError('APPLIER_GONE', message);
}
