import { copyFileSync, existsSync, mkdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { appendMark } from '../../../src/disk/trace.js';
import { type ClusterNode, freshFolder, startPrimary } from '../../support/cluster.js';
import type { MountMark } from './promise.js';
import { WORKLOADS } from './workloads.js';

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
export async function record(options: RecordingOptions): Promise<void> {
  const dir = realpathSync(freshFolder('power'));
  const data = join(dir, 'data');
  const trace = join(dir, 'trace');
  mkdirSync(data);
  const variables: Record<string, string> = { SLUICE_DISK_ROOT: data, SLUICE_DISK_TRACE: trace };
  if (options.faults !== undefined) {
    variables.SLUICE_DISK_FAULTS = join(dir, 'faults');
    writeFileSync(variables.SLUICE_DISK_FAULTS, options.faults);
  }
  Object.assign(process.env, variables);
  let node: ClusterNode | undefined;
  try {
    node = await startPrimary({ dir });
    appendMark(trace, JSON.stringify({ mount: node.mount } satisfies MountMark));
    for (const { name, run } of WORKLOADS) {
      if (options.workloads !== undefined && !options.workloads.includes(name)) continue;
      options.log?.(`recording ${name}`);
      await run({ node, trace, times: options.times });
    }
    await node.stop();
  } catch (error) {
    throw new Error(`${String(error)}\n${node?.log.slice(-4000)}`, { cause: error });
  } finally {
    for (const name of Object.keys(variables)) delete process.env[name];
    node?.discard();
    if (existsSync(trace)) copyFileSync(trace, options.path);
    rmSync(dir, { recursive: true, force: true });
  }
}
