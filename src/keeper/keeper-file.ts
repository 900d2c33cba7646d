import { join } from 'node:path';
import { readFileSync, renameSync, rmSync, writeFileSync } from '../disk/index.js';

/** A node process, as people tell one from another. */
export interface NodeFacts {
  readonly pid: number;
  readonly version: string;
}

/** What came of an upgrade. */
export interface UpgradeState {
  /** The first of this keeper is 1. */
  readonly number: number;
  readonly state: 'running' | 'done' | 'failed';
  readonly from: NodeFacts;
  /** Null until the new node is known. */
  readonly to: NodeFacts | null;
  /** For how long nobody answered requests to the mount; null if nothing was stopped, or is not known. */
  readonly pauseMs: number | null;
  /** Why it failed. */
  readonly reason: string | null;
}

/** What `keeper.json` in the data folder says, for `sluice upgrade`: where the keeper is, and its last upgrade. */
export interface KeeperState {
  readonly pid: number;
  /** When the kernel started that process, in its ticks: another one that was given the same pid has another. */
  readonly startTicks: number;
  readonly upgrade: UpgradeState | null;
}

const NAME = 'keeper.json';
/** Fields of /proc/PID/stat behind the process' name: the 22nd of all is the start time. */
const START_TICKS_FIELD = 19;

/** Puts the state there for others, whole or not at all. */
export function writeKeeperState(data: string, state: KeeperState): void {
  const path = join(data, NAME);
  writeFileSync(`${path}.new`, `${JSON.stringify(state, undefined, 2)}\n`);
  renameSync(`${path}.new`, path);
}

export function removeKeeperState(data: string): void {
  rmSync(join(data, NAME), { force: true });
}

/** Undefined if there is none. */
export function readKeeperState(data: string): KeeperState | undefined {
  try {
    const state: unknown = JSON.parse(readFileSync(join(data, NAME), 'utf8'));
    return typeof state === 'object' && state !== null && 'pid' in state ? (state as KeeperState) : undefined;
  } catch {
    return undefined;
  }
}

/** Whether the process that wrote the state is alive. */
export function isKeeperAlive({ pid, startTicks }: KeeperState): boolean {
  return startTicksOf(pid) === startTicks;
}

/** When a process was started; undefined if there is none. */
export function startTicksOf(pid: number): number | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[START_TICKS_FIELD]);
  } catch {
    return undefined;
  }
}
