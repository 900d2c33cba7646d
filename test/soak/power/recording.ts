import { copyFileSync, existsSync, mkdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { appendMark } from '../../../src/disk/trace.js';
import { type ClusterNode, freshFolder, startPrimary, startReplica, waitForReplica } from '../../support/cluster.js';
import type { MountMark, PrimaryMark } from './promise.js';
import { REPLICA_WORKLOADS } from './replica-workloads.js';
import { WORKLOADS } from './workloads.js';

const REPLICA_LIMIT_MS = 90_000;

export interface RecordingOptions {
  /** Where the trace goes. */
  readonly path: string;
  /** Names of workloads; left out: all. */
  readonly workloads?: readonly string[] | undefined;
  /** How often each does what it does. */
  readonly times: number;
  /** Lines of a fault file (src/disk/faults.ts) that hold throughout. */
  readonly faults?: string;
  readonly log?: (line: string) => void;
}

/** Runs the workloads on a real mount and keeps what its node did to the disk. */
export function record(options: RecordingOptions): Promise<void> {
  return recordIn(options, async ({ dir, trace, started }) => {
    // What the kernel writes by itself would be in no trace.
    const node = await startPrimary({ dir, mount: { passthrough: 'off' } });
    started.push(node);
    appendMark(trace, JSON.stringify({ mount: node.mount } satisfies MountMark));
    for (const { run } of chosen(WORKLOADS, options)) await run({ node, trace, times: options.times });
    await node.stop();
  });
}

/** The same of a replica, while applications work on its primary. */
export function recordReplica(options: RecordingOptions): Promise<void> {
  return recordIn(options, async ({ dir, trace, started, watched }) => {
    watched(false);
    const primary = await startPrimary({ dir: join(dir, 'primary') });
    started.push(primary);
    watched(true);
    const replica = await startReplica(primary, { dir });
    started.unshift(replica);
    appendMark(trace, JSON.stringify({ mount: replica.mount, replica: true } satisfies MountMark));
    for (const { name, run } of chosen(REPLICA_WORKLOADS, options)) {
      await run({ primary, replica, trace, times: options.times });
      for (const database of (await primary.status()).databases) {
        if (database.name.startsWith(name)) await waitForReplica(primary, replica, database.name, REPLICA_LIMIT_MS);
      }
    }
    const { databases } = await primary.status();
    const positions = Object.fromEntries(databases.map(({ name, txid, checksum }) => [name, `${txid}/${checksum}`]));
    await replica.stop();
    appendMark(trace, JSON.stringify({ primaryAt: positions } satisfies PrimaryMark));
    await primary.stop();
  });
}

function* chosen<T extends { readonly name: string }>(
  workloads: readonly T[],
  options: RecordingOptions,
): Generator<T> {
  for (const workload of workloads) {
    if (options.workloads !== undefined && !options.workloads.includes(workload.name)) continue;
    options.log?.(`recording ${workload.name}`);
    yield workload;
  }
}

interface Stage {
  readonly dir: string;
  readonly trace: string;
  /** To be discarded in this order, whatever happens. */
  readonly started: ClusterNode[];
  /** Whether nodes that are started from now on are recorded. */
  readonly watched: (whether: boolean) => void;
}

async function recordIn(options: RecordingOptions, run: (stage: Stage) => Promise<void>): Promise<void> {
  const dir = realpathSync(freshFolder('power'));
  const data = join(dir, 'data');
  const trace = join(dir, 'trace');
  mkdirSync(data);
  const variables: Record<string, string> = { SLUICE_DISK_ROOT: data, SLUICE_DISK_TRACE: trace };
  if (options.faults !== undefined) {
    variables.SLUICE_DISK_FAULTS = join(dir, 'faults');
    writeFileSync(variables.SLUICE_DISK_FAULTS, options.faults);
  }
  const started: ClusterNode[] = [];
  const watched = (whether: boolean) => {
    if (whether) Object.assign(process.env, variables);
    else for (const name of Object.keys(variables)) delete process.env[name];
  };
  watched(true);
  try {
    await run({ dir, trace, started, watched });
  } catch (error) {
    throw new Error(`${String(error)}\n${started.map(({ log }) => log.slice(-4000)).join('\n')}`, { cause: error });
  } finally {
    watched(false);
    for (const node of started) node.discard();
    if (existsSync(trace)) copyFileSync(trace, options.path);
    rmSync(dir, { recursive: true, force: true });
  }
}
