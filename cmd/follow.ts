import { InvalidArgumentError } from 'commander';
import type { Store } from '../src/backup/index.js';
import { formatDuration, parseDuration } from '../src/config/index.js';
import { describeError } from '../src/errors.js';
import { formatPosition, type Position } from '../src/ltx/index.js';

const MIN_INTERVAL_MS = 100;
const MAX_INTERVAL_MS = 3_600_000;
export const DEFAULT_INTERVAL_MS = 1_000;

export interface FollowCommandOptions {
  readonly intervalMs: number;
  readonly force: boolean;
  readonly json: boolean;
}

export function parseInterval(text: string): number {
  const ms = parseDuration(text);
  if (ms !== undefined && ms >= MIN_INTERVAL_MS && ms <= MAX_INTERVAL_MS) return ms;
  const range = `${formatDuration(MIN_INTERVAL_MS)} to ${formatDuration(MAX_INTERVAL_MS)}`;
  throw new InvalidArgumentError(`Want a duration like 1s, from ${range}.`);
}

/** Keeps a file as its backup is, and says so, until the signal. */
export async function runFollow(
  store: Store,
  output: string,
  { intervalMs, force, json }: FollowCommandOptions,
  signal: AbortSignal,
): Promise<void> {
  const { followFile } = await import('../src/feed/index.js');
  const tell = (position: Position, event: 'position' | 'caught up' | 'stopped') => {
    const [txid, checksum] = formatPosition(position).split('/');
    if (json) console.log(JSON.stringify({ event, output, txid, checksum, time: new Date().toISOString() }));
    else if (event === 'caught up') console.log(`${output} is as the backup is, at TXID ${txid}; following it`);
    else if (event === 'stopped') console.log(`${output} stays at TXID ${txid}`);
  };
  const last = await followFile({
    store,
    output,
    intervalMs,
    force,
    signal,
    onPosition: (position) => tell(position, 'position'),
    onCaughtUp: (position) => tell(position, 'caught up'),
    onTrouble: (error, isNew) => {
      if (isNew) process.stderr.write(`sluice: ${error.code}: ${describeError(error)}; trying again\n`);
    },
  });
  tell(last, 'stopped');
}
