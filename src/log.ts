import { type DestinationStream, destination, type Logger, pino } from 'pino';
import type { LogConfig } from './config/index.js';

export type { Logger } from 'pino';

/**
 * The node's logger: to stderr, JSON lines or, on a terminal, lines for people. Secrets are never passed to it; as a
 * second guard the keys that hold them are masked. Pretty lines are made in this thread: no worker, nothing to flush.
 */
export async function createLogger(config: LogConfig, stream?: DestinationStream): Promise<Logger> {
  const options = {
    level: config.level,
    base: null,
    redact: { paths: ['token', '*.token', 'secretAccessKey', '*.secretAccessKey'], censor: '***' },
  };
  if (stream !== undefined) return pino(options, stream);
  if (!isPretty(config)) return pino(options, destination({ fd: 2, sync: true }));
  const { default: pretty } = await import('pino-pretty');
  return pino(
    options,
    pretty({ destination: 2, sync: true, translateTime: 'SYS:HH:MM:ss.l', colorize: process.stderr.isTTY === true }),
  );
}

function isPretty(config: LogConfig): boolean {
  return config.format === 'pretty' || (config.format === 'auto' && process.stderr.isTTY === true);
}
