import { readFileSync } from 'node:fs';
import type { ClusterNode } from '../support/cluster.js';
import { processesOf } from './nodes.js';

const SAMPLE_MS = 100;

interface Resident {
  readonly pid: number;
  /** The process's program, e.g. `node-main.js`. */
  readonly name: string;
  readonly bytes: number;
}

/**
 * Looks now and then at what memory all of a node's processes have. Shared pages count once for each process, but for
 * those of a child that has not yet become its own program (between fork and exec): these are its parent's.
 */
export class MemoryWatch {
  peak: readonly Resident[] = [];
  readonly #timer: NodeJS.Timeout;

  constructor(private readonly node: ClusterNode) {
    this.#timer = setInterval(() => this.#look(), SAMPLE_MS);
  }

  get peakBytes(): number {
    return sum(this.peak);
  }

  /** The most that one process had. */
  largestBytes = 0;

  stop(): void {
    clearInterval(this.#timer);
  }

  toString(): string {
    const parts = this.peak.map(({ name, bytes }) => `${name} ${megabytes(bytes)}`);
    return `${megabytes(this.peakBytes)} (${parts.join(', ')})`;
  }

  #look(): void {
    const now = programs(processesOf(this.node)).map(resident);
    if (sum(now) > this.peakBytes) this.peak = now;
    for (const { bytes } of now) this.largestBytes = Math.max(this.largestBytes, bytes);
  }
}

/** What these processes have together. */
export function residentBytes(pids: readonly number[]): number {
  return sum(programs(pids).map(resident));
}

/** Those that run a program of their own. */
function programs(pids: readonly number[]): number[] {
  return pids.filter((pid) => {
    const parent = Number(/^PPid:\s+(\d+)/m.exec(read(`/proc/${pid}/status`))?.[1] ?? 0);
    return !pids.includes(parent) || commandOf(pid) !== commandOf(parent);
  });
}

function commandOf(pid: number): string {
  return read(`/proc/${pid}/cmdline`);
}

function resident(pid: number): Resident {
  const bytes = 1024 * Number(/^VmRSS:\s+(\d+)/m.exec(read(`/proc/${pid}/status`))?.[1] ?? 0);
  const words = commandOf(pid).split('\0');
  const script = words.find((word) => word.endsWith('.js')) ?? words[0] ?? '?';
  return { pid, name: script.split('/').at(-1) ?? '?', bytes };
}

function sum(all: readonly Resident[]): number {
  return all.reduce((total, { bytes }) => total + bytes, 0);
}

export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(0)} MB`;
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
