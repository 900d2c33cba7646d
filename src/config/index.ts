export { formatListen, isLoopback, parseListen } from './listen.js';
export { loadConfig } from './load.js';
export { maskConfig } from './mask.js';
export { ConfigError, type ConfigProblem, formatProblem } from './problem.js';
export type {
  BackupConfig,
  Config,
  HttpConfig,
  LeaseConfig,
  ListenAddress,
  LogConfig,
  LogLevel,
  MountConfig,
  ReplicationConfig,
} from './types.js';
export { formatDuration, formatSize, parseDuration, parseSize } from './units.js';
