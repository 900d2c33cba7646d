import { setTimeout as pause } from 'node:timers/promises';
import { DEATH_WINDOW_MS, MAX_DEATHS } from '../../../src/keeper/limits.js';
import type { Random } from '../../database/support/random.js';
import type { ClusterNode } from '../../support/cluster.js';
import { CUTS, type Cut, type Machine } from '../../support/network.js';
import { untilCommit } from './aim.js';
import type { Client } from './clients.js';
import type { NodeName } from './operations.js';
import { PRIMARY } from './roles.js';

/** What happens to nodes, lines and clients while they work. */
export type Fault =
  | { readonly name: 'cut'; readonly node: NodeName; readonly way: Cut; readonly forMs: number }
  | { readonly name: 'stop node' | 'stop client'; readonly node: NodeName; readonly forMs: number }
  | { readonly name: 'kill node' | 'kill client'; readonly node: NodeName };

/** Each fault comes so long after the one before; they may overlap. `atCommit`: it then waits until somebody on a replica commits. */
export type Plan = readonly { readonly afterMs: number; readonly atCommit: boolean; readonly fault: Fault }[];

const MIN_BETWEEN_MS = 300;
const MAX_BETWEEN_MS = 2500;
const MIN_FAULT_MS = 200;
/** Longer than the primary waits for a silent replica (see NODE_SETTINGS). */
const MAX_FAULT_MS = 6000;
/** How many faults come in the middle of a commit. */
const AT_COMMIT = 0.6;
/** After the last fault: for what was held up to go on. */
const REST_SHARE = 0.25;

const NAMES = ['cut', 'cut', 'stop node', 'stop client', 'kill node', 'kill client'] as const;

/** Decides all faults of a round. `cuttable`: the nodes whose lines can be cut. */
export function planFaults(
  random: Random,
  millis: number,
  nodes: readonly NodeName[],
  cuttable: readonly NodeName[],
): Plan {
  const plan: Plan[number][] = [];
  const names = NAMES.filter((name) => name !== 'cut' || cuttable.length > 0);
  for (let atMs = 0; ; ) {
    const afterMs = MIN_BETWEEN_MS + random.below(MAX_BETWEEN_MS);
    atMs += afterMs;
    if (atMs > millis * (1 - REST_SHARE)) return plan;
    const forMs = Math.min(MIN_FAULT_MS + random.below(MAX_FAULT_MS), millis * (1 - REST_SHARE / 2) - atMs);
    const name = random.pick(names);
    const node = random.pick(name === 'cut' ? cuttable : nodes);
    plan.push({ afterMs, atCommit: random.chance(AT_COMMIT), fault: faultOf(name, node, forMs, random) });
  }
}

function faultOf(name: (typeof NAMES)[number], node: NodeName, forMs: number, random: Random): Fault {
  if (name === 'cut') return { name, node, forMs: Math.round(forMs), way: random.pick(CUTS) };
  if (name === 'kill node' || name === 'kill client') return { name, node };
  return { name, node, forMs: Math.round(forMs) };
}

export function describePlan(plan: Plan): string {
  const one = ({ afterMs, atCommit, fault }: Plan[number]) =>
    `+${afterMs} ms${atCommit ? ', at a commit,' : ''} ${describeFault(fault)}`;
  return plan.map(one).join('; ');
}

function describeFault(fault: Fault): string {
  const how = fault.name === 'cut' ? ` ${fault.way}` : '';
  const time = 'forMs' in fault ? ` for ${fault.forMs} ms` : '';
  return `${fault.name}${how} (${fault.node})${time}`;
}

export interface Scene {
  readonly nodes: ReadonlyMap<NodeName, ClusterNode>;
  readonly machines: ReadonlyMap<NodeName, Machine>;
  readonly clients: () => readonly Client[];
  /** Another one like it, after one was killed. */
  readonly replace: (client: Client) => void;
}

/** Strikes as planned; resolves when all lines are whole, and nothing is stopped. Nodes may still be on their way back. */
export async function strike(plan: Plan, scene: Scene, random: Random): Promise<void> {
  const running: Promise<void>[] = [];
  try {
    for (const { afterMs, atCommit, fault } of plan) {
      await pause(afterMs);
      if (atCommit) await untilCommit(committing(scene, fault));
      running.push(once(fault, scene, random));
    }
  } finally {
    await Promise.all(running);
    for (const machine of scene.machines.values()) machine.heal();
  }
}

/** The histories of those whose commits a fault is for: of the primary's, they are those of all replicas. */
function committing({ clients }: Scene, { node }: Fault): string[] {
  const isMeant = (name: NodeName) => (node === PRIMARY ? name !== PRIMARY : name === node);
  return clients().flatMap(({ task, hasEnded }) => (isMeant(task.node) && !hasEnded ? [task.history] : []));
}

async function once(fault: Fault, scene: Scene, random: Random): Promise<void> {
  const node = scene.nodes.get(fault.node)!;
  const client = random.pick(scene.clients().filter((each) => each.task.node === fault.node && !each.hasEnded));
  switch (fault.name) {
    case 'cut': {
      const machine = scene.machines.get(fault.node)!;
      machine.cut(fault.way);
      await pause(fault.forMs);
      return machine.heal();
    }
    case 'stop node':
      return stopFor(node.nodePid(), fault.forMs);
    case 'stop client':
      return client === undefined ? undefined : stopFor(client.pid, fault.forMs);
    case 'kill node':
      return isBorne(node) ? kill(node.nodePid()) : undefined;
    case 'kill client':
      if (client === undefined) return;
      await client.kill();
      return scene.replace(client);
  }
}

async function stopFor(pid: number, forMs: number): Promise<void> {
  if (!signal(pid, 'SIGSTOP')) return;
  await pause(forMs);
  signal(pid, 'SIGCONT');
}

const deaths = new WeakMap<ClusterNode, number[]>();

/** A keeper gives up on a node that dies too often. */
function isBorne(node: ClusterNode): boolean {
  const now = performance.now();
  const recent = (deaths.get(node) ?? []).filter((atMs) => now - atMs < DEATH_WINDOW_MS + 10_000);
  if (recent.length + 1 >= MAX_DEATHS) return false;
  deaths.set(node, [...recent, now]);
  return true;
}

function kill(pid: number): void {
  signal(pid, 'SIGKILL');
}

/** False if it has ended. */
function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false;
  }
}
