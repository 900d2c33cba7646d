import { checkFolders } from './folders.js';
import { formatListen, isLoopback } from './listen.js';
import { type ConfigSource, storeKey } from './source.js';
import type { Config, ListenAddress } from './types.js';

/** Notes what each value for itself allows, but the whole does not. */
export function checkMeaning(config: Config, source: ConfigSource): void {
  checkFolders(config, source);
  checkLease(config, source);
  checkDriver(config, source);
  checkWrites(config, source);
  checkDurability(config, source);
  checkListen(config.http.listen, config.http.token, 'http', source);
  checkListen(config.replication.listen, config.replication.token, 'replication', source);
  checkProxy(config, source);
  const [http, replication] = [config.http.listen, config.replication.listen];
  if (
    http !== null &&
    replication !== null &&
    http.port !== 0 &&
    http.port === replication.port &&
    http.host === replication.host
  ) {
    source.reportValue(['replication', 'listen'], 'the same address as http.listen; want another port');
  }
  config.backup.forEach((store, i) => {
    const path = storeKey(config, i);
    if (config.backup.findIndex((other) => other.url === store.url) < i) {
      source.reportValue(path, 'the same store twice; remove one of them');
    }
    if ((store.accessKeyId === undefined) !== (store.secretAccessKey === undefined)) {
      source.reportValue(path, 'accessKeyId and secretAccessKey go together; set both, or neither');
    }
  });
}

function checkLease(config: Config, source: ConfigSource): void {
  const { role, primary } = config.lease;
  const fromStore = config.replication.upstream === 'store';
  if (fromStore && role === 'primary') {
    source.reportValue(['replication', 'upstream'], 'a primary follows nobody; remove it, or set lease.role: replica');
  }
  if (fromStore && config.backup.length === 0) {
    source.reportValue(['replication', 'upstream'], 'store wants a store to follow; add one under backup');
  }
  if (config.restore === 'if-missing' && config.backup.length === 0) {
    source.reportValue(['restore'], 'if-missing wants a store to restore from; add one under backup');
  }
  if (role === 'replica' && primary === null && !fromStore) {
    source.reportValue(['lease', 'primary'], 'missing; a replica wants its primary as a URL like ws://10.0.0.1:20203');
  }
  if (role === 'primary' && primary !== null) {
    source.reportValue(['lease', 'primary'], 'only for a replica; remove it, or set lease.role: replica');
  }
}

function checkDriver({ mount }: Config, source: ConfigSource): void {
  if (mount.driver !== 'libfuse' || mount.locks !== 'sluice') return;
  source.reportValue(
    ['mount', 'locks'],
    'driver libfuse leaves locks to the kernel; want kernel or auto, or driver: raw',
  );
}

function checkWrites({ writes, lease, mount, replication }: Config, source: ConfigSource): void {
  if (!writes.forward || lease.role !== 'replica') return;
  if (mount.driver === 'libfuse' || mount.locks === 'kernel') {
    source.reportValue(
      ['writes', 'forward'],
      'wants mount.locks: sluice (or auto), and driver: raw (or auto, as root)',
    );
  } else if (replication.upstream === 'store' && source.at(['writes', 'forward']) !== undefined) {
    source.reportValue(['writes', 'forward'], 'a replica that follows a store has no primary to write to; remove it');
  }
}

function checkProxy({ proxy, lease, http, replication }: Config, source: ConfigSource): void {
  if (proxy === null) return;
  const { listen, target, primary, flyReplay } = proxy;
  const taken = [http.listen, replication.listen].some(
    (other) => other !== null && other.port !== 0 && other.port === listen.port && other.host === listen.host,
  );
  if (taken) source.reportValue(['proxy', 'listen'], 'an address that http or replication has; want another port');
  if (target === `http://${formatListen(listen)}`) {
    source.reportValue(['proxy', 'target'], 'the proxy itself; want the address of the application');
  }
  if (lease.role === 'primary' && primary !== null) {
    source.reportValue(['proxy', 'primary'], 'only for a replica; remove it, or set lease.role: replica');
  }
  const isTold = replication.upstream === 'primary' || (flyReplay !== null && flyReplay !== 'instance');
  if (lease.role === 'replica' && primary === null && !isTold) {
    source.reportValue(['proxy', 'primary'], "missing; a store does not say where the primary's proxy is");
  }
}

function checkDurability({ durability, lease, replication, backup }: Config, source: ConfigSource): void {
  const { databases, ...all } = durability;
  const rules = [
    { path: ['durability'], rule: all },
    ...databases.map((rule) => ({ path: ['durability', 'databases', rule.pattern], rule })),
  ];
  for (const { path, rule } of rules) {
    if (rule.until === 'local') continue;
    if (lease.role === 'replica') {
      source.reportValue(path, 'only for a node that may be primary; remove it');
    } else if (rule.until === 'backup' && backup.length === 0) {
      source.reportValue(path, 'backup wants a store that commits wait for; add one under backup');
    } else if (rule.until === 'replicas' && replication.listen === null) {
      source.reportValue(path, 'replicas cannot connect: replication.listen is off');
    }
  }
}

function checkListen(
  listen: ListenAddress | null,
  token: string | null,
  section: 'http' | 'replication',
  source: ConfigSource,
): void {
  if (listen === null || token !== null || isLoopback(listen.host)) return;
  source.reportValue(
    [section, 'listen'],
    `${listen.host} can be reached by other machines; set ${section}.token, or listen on 127.0.0.1`,
  );
}
