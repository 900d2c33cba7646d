import type { Config } from '../config/index.js';
import { describeError, errorCode, SluiceError } from '../errors.js';
import { Metrics, startHttp } from '../http/index.js';
import { createLogger, type Logger } from '../log.js';
import type { RunningNode, StartNode } from '../node-types.js';
import { VERSION } from '../version.js';
import { type DataLock, lockDataFolder } from './data-lock.js';
import { Inbox } from './inbox.js';
import type { FailureText, ToKeeper } from './messages.js';
import { DEVICE_FD } from './node-process.js';
import { completeConfig } from './older-config.js';
import { StopRequest } from './stop-request.js';
import { takeAway, unmountGently } from './unmount.js';

/** How long the message of a failure may take to the keeper. */
const SEND_LIMIT_MS = 1_000;

/** What is done with the data folder before there is a mount. */
export type PrepareNode = (options: {
  readonly config: Config;
  readonly served: boolean;
  readonly log: Logger;
}) => Promise<void>;

/** The life of a node process, from the keeper's first message to its own end. Never resolves: it ends the process. */
export async function runNode(startNode: StartNode, prepare?: PrepareNode): Promise<never> {
  // The keeper says when to end; a signal to the whole group is for it and for the application.
  // SIGIO: somebody opened a file on which we had a lease.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGIO'] as const)
    process.on(signal, () => undefined);
  process.on('uncaughtException', (error) => void die(error));
  try {
    return await live(startNode, prepare);
  } catch (error) {
    return die(error);
  }
}

async function live(startNode: StartNode, prepare: PrepareNode | undefined): Promise<never> {
  const inbox = new Inbox();
  send({ kind: 'loaded', version: VERSION });
  const { config: given, served = false } = await inbox.require('start');
  const config = completeConfig(given);
  const lock = lockDataFolder(config.data);
  const log = await createLogger(config.log);
  const metrics = new Metrics();
  let node: RunningNode | undefined;
  const http = await startHttp({
    config: config.http,
    metrics,
    state: () => node?.state(),
    status: async () => node?.status(),
    backUp: async (request) => node?.backUp(request),
    log,
  });
  await prepare?.({ config, served, log });
  send({ kind: 'locked' });

  const { takeover } = await inbox.require('mounted');
  node = await startNode({
    config,
    deviceFd: DEVICE_FD,
    takeover,
    log,
    metrics,
    onAnswering: () => send({ kind: 'answering' }),
    onReady: () => send({ kind: 'ready' }),
  });
  send({ kind: 'serving' });

  const asked = await Promise.race([node.failed, inbox.expect('stop'), inbox.expect('handOver'), inbox.closed]);
  if (asked?.kind === 'handOver') {
    await http.close();
    await node.handOver(() => send({ kind: 'paused' }));
    if (inbox.isClosed) await takeAway(config.mount.path);
    return end(lock, log);
  }
  await node.drain();
  await http.close();
  if (inbox.isClosed) await leaveOrphaned(config.mount.path, log);
  else await unmounted(inbox);
  await node.finish();
  return end(lock, log);
}

async function unmounted(inbox: Inbox): Promise<void> {
  send({ kind: 'drained' });
  await Promise.race([inbox.expect('unmounted'), inbox.closed]);
}

/** The keeper is gone, and with it whoever could start a successor: a clean stop is all that is left to do. */
async function leaveOrphaned(mount: string, log: Logger): Promise<void> {
  log.warn('the keeper of this node died; stopping');
  await unmountGently(mount, new StopRequest(), new Set([process.pid]), (message) => log.warn(message));
  await takeAway(mount);
}

function end(lock: DataLock, log: Logger): never {
  lock.release();
  log.info('stopped');
  process.exit(0);
}

function send(message: ToKeeper): void {
  if (process.connected) process.send?.(message);
}

/**
 * Tells the keeper why, and ends the process the hard way: the thread that waits in a read of the device would hold up
 * any other exit. What it leaves is what a crash leaves, which the next start recovers from.
 */
async function die(error: unknown): Promise<never> {
  if (process.env.SLUICE_DEBUG && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  await new Promise<void>((resolve) => {
    setTimeout(resolve, SEND_LIMIT_MS);
    if (!process.connected) resolve();
    else
      process.send?.({ kind: 'failed', failure: failureText(error) } satisfies ToKeeper, undefined, undefined, () =>
        resolve(),
      );
  });
  process.kill(process.pid, 'SIGKILL');
  return new Promise<never>(() => undefined);
}

function failureText(error: unknown): FailureText {
  if (error instanceof SluiceError) return { code: error.code, message: error.message, hint: error.hint };
  return { code: errorCode(error) ?? 'NODE_FAILED', message: describeError(error), hint: '' };
}
