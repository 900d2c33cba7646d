import { spawnSync } from 'node:child_process';
import { chmodSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type ClusterNode, freshFolder, startPrimary, startReplica, waitFor } from '../support/cluster.js';
import { compareLeftOver, type LeftOver } from './left-over.js';
import { letOthersThrough } from './unprivileged.js';

/** Listing and emptying a folder; a file system that takes longer does not answer. */
const ANSWER_LIMIT_MS = 60_000;
const OPEN_TO_ALL = 0o777;

/** For a replica to have removed what the primary has not any more. */
const EMPTY_LIMIT_MS = 60_000;

export type Locks = 'kernel' | 'sluice';
/** Of which node the mount is. On a replica's, which takes writes with Sluice's locks, no file can be removed. */
export type Side = 'primary' | 'replica';

/** Where tests put their databases. */
export interface Place {
  readonly name: string;
  /** Whether it is what the others are compared with. */
  readonly plain: boolean;
  /** Open to all users. Another one after `renew`. */
  readonly folder: string;
  /** Removes all that is in it. Throws if it does not answer. */
  empty(): Promise<void>;
  /** What the last test left, compared with replica and backup where there are such. */
  leftOver(): Promise<LeftOver>;
  /** Makes it anew, after it stopped answering. */
  renew(): Promise<void>;
  /** Returns what is wrong with how it ends. */
  close(): Promise<string[]>;
}

/** A folder of the system's own file system. */
export class PlainPlace implements Place {
  readonly name = 'ext4';
  readonly plain = true;
  folder = plainFolder();

  async empty(): Promise<void> {
    emptyFolder(this.folder);
  }

  async leftOver(): Promise<LeftOver> {
    return { compared: 0, excused: [], differences: [] };
  }

  async renew(): Promise<void> {
    this.folder = plainFolder();
  }

  async close(): Promise<string[]> {
    return [];
  }
}

function plainFolder(): string {
  const folder = freshFolder('plain');
  chmodSync(folder, OPEN_TO_ALL);
  letOthersThrough(folder);
  return folder;
}

interface Nodes {
  readonly primary: ClusterNode;
  readonly replica: ClusterNode;
  readonly store: string;
  readonly nodePids: readonly number[];
}

/** The mount of a primary, with a replica and a backup to a folder; or that of the replica. */
export class MountedPlace implements Place {
  readonly name: string;
  readonly plain = false;

  private constructor(
    private readonly locks: Locks,
    private readonly side: Side,
    private nodes: Nodes,
  ) {
    this.name = side === 'primary' ? `mount, ${locks} locks` : "replica's mount";
  }

  static async open(locks: Locks, side: Side = 'primary'): Promise<MountedPlace> {
    return new MountedPlace(locks, side, await startNodes(locks));
  }

  get folder(): string {
    return this.nodes[this.side].mount;
  }

  async empty(): Promise<void> {
    const { primary, replica } = this.nodes;
    emptyFolder(primary.mount);
    if (this.side === 'primary') return;
    let left: string[] = [];
    const isEmpty = (): boolean => {
      left = readdirSync(replica.mount);
      return left.length === 0;
    };
    await waitFor(isEmpty, EMPTY_LIMIT_MS, () => `the replica to be without ${left.join(', ')}`);
  }

  async leftOver(): Promise<LeftOver> {
    const { primary, replica, store, nodePids } = this.nodes;
    const found = await compareLeftOver(primary, replica, store);
    const restarted = [primary, replica].filter((node, i) => node.nodePid() !== nodePids[i]);
    if (restarted.length === 0) return found;
    this.nodes = { ...this.nodes, nodePids: [primary.nodePid(), replica.nodePid()] };
    return { ...found, differences: [...found.differences, ...restarted.map((node) => `${node.dir} was restarted`)] };
  }

  async renew(): Promise<void> {
    this.nodes.replica.discard();
    this.nodes.primary.discard();
    this.nodes = await startNodes(this.locks);
  }

  async close(): Promise<string[]> {
    const wrong: string[] = [];
    for (const node of [this.nodes.replica, this.nodes.primary]) {
      const end = await node.stop();
      if (end !== 0) wrong.push(`${node.dir} ended with ${end}\n${node.log.slice(-2000)}`);
    }
    return wrong;
  }
}

async function startNodes(locks: Locks): Promise<Nodes> {
  const store = join(freshFolder('store'), 'backup');
  const mount = { path: './mnt', locks };
  const log = { level: 'info' };
  const primary = await startPrimary({ backup: store, mount, log });
  const replica = await startReplica(primary, { mount, log });
  for (const { mount: folder } of [primary, replica]) letOthersThrough(folder);
  chmodSync(primary.mount, OPEN_TO_ALL);
  // Nobody can change a replica's folder on its mount.
  chmodSync(replica.backing('.'), OPEN_TO_ALL);
  return { primary, replica, store, nodePids: [primary.nodePid(), replica.nodePid()] };
}

/** By a process that can be given up. */
function emptyFolder(folder: string): void {
  const command = [folder, '-mindepth', '1', '-maxdepth', '1', '-exec', 'rm', '-rf', '{}', '+'];
  const ran = spawnSync('find', command, { encoding: 'utf8', timeout: ANSWER_LIMIT_MS, killSignal: 'SIGKILL' });
  if (ran.error !== undefined) throw new Error(`${folder} does not answer: ${ran.error.message}`);
  if (ran.status !== 0) throw new Error(`${folder} cannot be emptied: ${ran.stderr.trim()}`);
}
