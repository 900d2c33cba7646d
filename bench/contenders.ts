import { closeSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { type NodeOptions, startLitefs, startNode } from './places.js';
import { Server } from './processes.js';

/** A folder to measure in. */
export interface Place {
  readonly name: string;
  readonly folder: string;
}

/** A server, or what else must end. */
export interface Stoppable {
  stop(): Promise<void>;
}

/** Columns beside ext4, and how their nodes are started. */
export type Variants = readonly (readonly [name: string, options: NodeOptions])[];

/**
 * ext4 first, a node for each variant, then LiteFS if `LITEFS_BIN` gives it. Their servers are added to `servers` as they
 * start, for the caller to stop.
 */
export async function startPlaces(
  root: string,
  part: string,
  variants: Variants,
  servers: Stoppable[],
): Promise<Place[]> {
  const plain = join(root, `ext4-${part}`);
  mkdirSync(plain, { recursive: true });
  const places: Place[] = [{ name: 'ext4', folder: plain }];
  for (const [index, [name, options]] of variants.entries()) {
    const node = await startNode(root, `${part}-${options.driver ?? 'raw'}-${index}`, options);
    servers.push(node.server);
    places.push({ name, folder: node.mount });
  }
  const litefs = process.env.LITEFS_BIN;
  if (litefs !== undefined) {
    const { server, mount } = await startLitefs(litefs, root, `litefs-${part}`);
    servers.push(server);
    places.push({ name: 'LiteFS', folder: mount });
  }
  return places;
}

/**
 * A file system in C that passes everything on and does nothing else, if `BINDFS_BIN` gives it: what FUSE itself costs.
 * The kernel caches as much for it as for Sluice, and processors stay awake until `servers` are stopped.
 */
export async function startBindfs(root: string, part: string, servers: Stoppable[]): Promise<Place[]> {
  const binary = process.env.BINDFS_BIN;
  if (binary === undefined) return [];
  const [backing, mount] = [join(root, `bindfs-${part}`), join(root, `bindfs-${part}-mnt`)];
  for (const path of [backing, mount]) mkdirSync(path, { recursive: true });
  const awake = openSync('/dev/cpu_dma_latency', 'w');
  servers.push({ stop: async () => closeSync(awake) });
  writeSync(awake, Int32Array.of(0));
  const cached = 'kernel_cache,attr_timeout=86400,entry_timeout=86400';
  const ready = () => readFileSync('/proc/self/mounts', 'utf8').includes(` ${mount} `);
  servers.push(await Server.start('bindfs', binary, ['-f', '-o', cached, backing, mount], ready, mount));
  return [{ name: 'bindfs', folder: mount }];
}
