export { formatListen, isLoopback, parseListen } from './listen.js';
export { LOCAL_DURABILITY } from './local-durability.js';
/**
 * The configuration as the rest of Sluice uses it. Reading the file is `./load.js`, a second door: the YAML parser and
 * the schema cost 17 MB and a quarter of a second, so they live in commands and in a process of their own (`./print.js`),
 * never in a node.
 */
export { maskConfig } from './mask.js';
export { ConfigError, type ConfigProblem, formatProblem } from './problem.js';
export type {
  BackupConfig,
  Config,
  DurabilityConfig,
  DurabilityRule,
  HttpConfig,
  LeaseConfig,
  ListenAddress,
  LogConfig,
  LogLevel,
  MountConfig,
  ProxyConfig,
  ReplicationConfig,
} from './types.js';
export { formatDuration, formatSize, parseDuration, parseSize } from './units.js';
