import { setTimeout as pause } from 'node:timers/promises';
import { DEATH_WINDOW_MS, MAX_DEATHS } from '../../../src/keeper/limits.js';
import type { Random } from '../../database/support/random.js';
import { type ClusterNode, waitFor } from '../../support/cluster.js';

/** What is killed (or, at `upgrade`, replaced) at once. */
export type Fault =
  | 'application'
  | 'primary node'
  | 'primary node twice'
  | 'primary upgrade'
  | 'replica node'
  | 'replica node twice'
  | 'replica upgrade'
  | 'applier'
  | 'whole primary'
  | 'whole replica';

export const FAULTS: readonly Fault[] = [
  'application',
  'application',
  'primary node',
  'primary node',
  'primary node twice',
  'primary upgrade',
  'replica node',
  'replica node twice',
  'replica upgrade',
  'applier',
  'applier',
  'whole primary',
  'whole replica',
];

/** Applications on the mount do not live through it. */
export const killsApplications = (fault: Fault): boolean => fault === 'application' || fault === 'whole primary';

const NEW_NODE_LIMIT_MS = 60_000;
/** Until a node that has just been started is killed again: somewhere in its start. */
const SECOND_KILL_MS = 600;

/** Strikes what is not the applications', and resolves when all is ready again. */
export async function strike(fault: Fault, primary: ClusterNode, replica: ClusterNode, random: Random): Promise<void> {
  switch (fault) {
    case 'primary node':
      return killNode(primary);
    case 'primary node twice':
      return killTwice(primary, random);
    case 'primary upgrade':
      return upgrade(primary);
    case 'replica node':
      return killNode(replica);
    case 'replica node twice':
      return killTwice(replica, random);
    case 'replica upgrade':
      return upgrade(replica);
    case 'applier':
      return killApplier(replica);
    case 'whole primary':
      await primary.killAll();
      deaths.delete(primary);
      return primary.start();
    case 'whole replica':
      await replica.killAll();
      deaths.delete(replica);
      return replica.start();
    case 'application':
      throw new Error('the applications belong to the campaign');
  }
}

/** When nodes of a keeper were killed. */
const deaths = new WeakMap<ClusterNode, number[]>();

/** A keeper gives up on a node that dies too often: waits until it bears so many more deaths. */
async function borne(node: ClusterNode, count: number): Promise<void> {
  const recent = () => (deaths.get(node) ?? []).filter((atMs) => performance.now() - atMs < DEATH_WINDOW_MS + 10_000);
  while (recent().length + count >= MAX_DEATHS) await pause(200);
  deaths.set(node, [...recent(), ...Array(count).fill(performance.now())]);
}

async function killNode(node: ClusterNode): Promise<void> {
  await borne(node, 1);
  await node.killNode();
}

function killApplier(replica: ClusterNode): void {
  const pid = replica.applierPid();
  if (pid !== undefined) killIfThere(pid);
}

async function upgrade(node: ClusterNode): Promise<void> {
  const { state, reason } = await node.upgrade(NEW_NODE_LIMIT_MS);
  if (state !== 'done') throw new Error(`the upgrade failed: ${reason}\n${node.log.slice(-4000)}`);
  await node.ready();
}

/** The second time in the middle of its start. */
async function killTwice(node: ClusterNode, random: Random): Promise<void> {
  await borne(node, 2);
  const first = node.nodePid();
  killIfThere(first);
  const pauseMs = random.below(SECOND_KILL_MS);
  await waitFor(
    () => node.nodePid() !== first,
    NEW_NODE_LIMIT_MS,
    () => `a new node\n${node.log.slice(-4000)}`,
  );
  await new Promise((resolve) => setTimeout(resolve, pauseMs));
  await node.killNode();
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it has just ended
  }
}
