import type { Config } from './config/index.js';
import type { DataFolder } from './database/index.js';
import { type Fitness, lagOf, type Metrics, publicReason } from './http/index.js';
import type { Logger } from './log.js';
import type { NodeRole } from './node-role.js';
import { type NodeFacts, NodeLinkServer } from './proxy/index.js';

/** How old what is said of fitness and lag may be: both look through all databases. */
const FITNESS_AGE_MS = 500;

export interface ProxyLinkOptions {
  readonly config: Config;
  readonly folder: DataFolder;
  readonly role: NodeRole;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly isReady: () => boolean;
  readonly problems: () => Fitness['problems'];
}

/** What a node says to its HTTP proxy, made of what its role knows. Undefined without a proxy. Before the role begins. */
export async function linkProxy(options: ProxyLinkOptions): Promise<NodeLinkServer | undefined> {
  const { config, folder, role, metrics, log, isReady } = options;
  // A keeper of an older version does not say.
  if (config.proxy === null || config.proxy === undefined) return undefined;
  const { proxied } = role;
  let fitness: Pick<NodeFacts, 'lagMs' | 'unfit' | 'connected'> = { lagMs: null, unfit: 'starting', connected: false };
  let lookedMs = Number.NEGATIVE_INFINITY;
  let wasReady = false;
  const look = () => {
    const nowMs = performance.now();
    if (nowMs - lookedMs < FITNESS_AGE_MS && wasReady === isReady()) return;
    lookedMs = nowMs;
    wasReady = isReady();
    const state: Fitness = {
      ready: wasReady,
      role: role.role,
      upstream: role.upstream(),
      problems: options.problems(),
      databases: role.databases().map(({ name }) => ({ lagMs: role.lagMs(name) })),
    };
    const lagMs = role.role === 'primary' ? 0 : lagOf(state);
    fitness = {
      lagMs: lagMs === null ? null : Math.round(lagMs),
      unfit: publicReason(state, config.http.healthLagMs),
      connected: role.role === 'primary' || state.upstream?.connected === true,
    };
  };
  const server = new NodeLinkServer({
    runFolder: folder.run,
    log,
    node: {
      facts: () => {
        look();
        const lineage = proxied.lineage();
        return {
          role: role.role,
          ready: isReady(),
          primary: proxied.primary(),
          lineage: lineage === null ? null : lineage.toString(16).padStart(16, '0'),
          ...fitness,
        };
      },
      positions: () => proxied.positions(),
      txid: (name) => proxied.txid(name),
      word: () => proxied.word(),
      settle: (databases) => proxied.settle(databases),
      counted: (counts) => metrics.proxied(counts),
    },
  });
  proxied.watch((name) => server.changed(name));
  await server.listen();
  return server;
}
