import { join } from 'node:path';
import type { Config } from '../config/index.js';
import { formatListen } from '../config/index.js';
import { describeError, errorCode, SluiceError } from '../errors.js';
import { createLogger } from '../log.js';
import { HttpProxy } from './http-proxy.js';
import { keysOf, ownSecret } from './keys.js';
import { COUNTERS_MS } from './limits.js';
import { NodeLink } from './node-link.js';
import { NodeView } from './node-view.js';

/** What the keeper tells its proxy: `start` once, then `stop`. A keeper outlives its proxies, whose versions may be newer. */
export type ToProxy = { readonly kind: 'start'; readonly config: Config } | { readonly kind: 'stop' };

/** What a proxy tells its keeper. */
export type FromProxy =
  | { readonly kind: 'listening' }
  /** It cannot start; it ends after this. */
  | { readonly kind: 'failed'; readonly message: string };

/** A proxy process: one keeper's messages, from the first to the end, which ends the process. */
export function runProxyProcess(): void {
  // The keeper says when to end; a signal to the whole group is for it and for the application.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR2'] as const)
    process.on(signal, () => undefined);
  let running: Promise<() => Promise<void>> | undefined;
  let ending = false;
  const end = async () => {
    if (ending) return;
    ending = true;
    await (await running)?.();
    process.exit(0);
  };
  process.on('message', (message: ToProxy) => {
    if (message.kind === 'start') {
      running ??= start(message.config);
      running.catch(die);
    } else void end();
  });
  // Without a keeper there is nobody to end it.
  process.on('disconnect', () => void end());
}

async function start(config: Config): Promise<() => Promise<void>> {
  const { proxy: own, data, replication, lease } = config;
  if (own === null) throw new SluiceError('PROXY_OFF', 'the config has no proxy');
  const log = await createLogger(config.log);
  const { token } = replication;
  if (token === null && lease.role === 'replica') {
    log.warn(
      'without replication.token the proxies of several nodes do not understand each other: reads may miss own writes',
    );
  }
  const view = new NodeView(own.databases);
  const link = new NodeLink(join(data, 'run'), view, own.databases);
  const keys = keysOf(token ?? ownSecret(data));
  const proxy = new HttpProxy({ config: own, keys, view, settle: (limitMs) => link.settle(limitMs), log });
  const address = await proxy.listen();
  link.start();
  const counting = setInterval(() => link.counts(proxy.counts), COUNTERS_MS);
  log.info({ address: `http://${formatListen(address)}`, target: own.target }, 'the proxy listens');
  send({ kind: 'listening' });
  return async () => {
    await proxy.stop();
    clearInterval(counting);
    link.close();
    log.info('the proxy stopped');
  };
}

function send(message: FromProxy, done: () => void = () => undefined): void {
  if (process.connected) process.send?.(message, undefined, undefined, done);
  else done();
}

function die(error: unknown): void {
  if (process.env.SLUICE_DEBUG && error instanceof Error && errorCode(error) === undefined) {
    process.stderr.write(`${error.stack}\n`);
  }
  send({ kind: 'failed', message: describeError(error) }, () => process.exit(1));
}
