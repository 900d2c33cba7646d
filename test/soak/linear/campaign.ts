import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Random } from '../../database/support/random.js';
import {
  type ClusterNode,
  freshFolder,
  startPrimary,
  startReplica,
  stopAll,
  waitUntilSame,
} from '../../support/cluster.js';
import { isInOwnNetwork, Machine } from '../../support/network.js';
import { freePort } from '../../support/port.js';
import { Client } from './clients.js';
import { makeDatabase } from './database.js';
import { complaints, judgeLinear, type Verdict } from './linearizable.js';
import { describePlan, planFaults, strike } from './nemesis.js';
import type { NodeName, Operation } from './operations.js';
import { isLinear, NODES } from './roles.js';
import { judgeSessions } from './sessions.js';
import { unexpectedErrors } from './sqlite-errors.js';

/** What a campaign is. The same options make the same decisions, not the same timing. */
export interface CampaignOptions {
  readonly rounds: number;
  /** Of one round. */
  readonly seconds: number;
  readonly seed: number;
  /** On which nodes clients write; on the others they read. */
  readonly writers: readonly NodeName[];
  readonly clientsPerNode: number;
  readonly faults: boolean;
  /** Of the databases; one after the other at random, if left out. */
  readonly mode?: string;
  /** Where the histories of all rounds stay; a folder. */
  readonly keep: string | undefined;
  readonly report: (line: string) => void;
}

export interface RoundResult {
  readonly operations: number;
  readonly writes: ReadonlyMap<NodeName, number>;
  readonly unknown: number;
  readonly verdicts: readonly Verdict[];
}

export const MODES: readonly string[] = ['wal', 'delete', 'wal', 'persist', 'wal', 'truncate'];
const BUSY_MS = [0, 200, 3000, 3000, 8000];
/** So that faults are longer than what nodes wait; and, with a commit that waits for less, that outcomes are unknown. */
const WRITE_SETTINGS = { wait: '3s', hold: '4s', silence: '2s' };
const COMMIT_LIMITS = ['8s', '1s'];
const TOKEN = 'three-nodes-that-know-each-other';
/** For the operation that a client is in the middle of, with all that nodes wait. */
const FINISH_LIMIT_MS = 90_000;
/** For the last look at a database, which nobody is in the way of. */
const LAST_LIMIT_MS = 30_000;
const HEAL_LIMIT_MS = 90_000;
const LOG_CHARS = 20_000;

export class Campaign {
  readonly #o: CampaignOptions;
  readonly #nodes = new Map<NodeName, ClusterNode>();
  readonly #machines = new Map<NodeName, Machine>();

  constructor(options: CampaignOptions) {
    this.#o = options;
  }

  /** Rejects with what was wrong, the round and its faults, and the nodes' logs. All that was started is ended. */
  async run(): Promise<RoundResult[]> {
    const results: RoundResult[] = [];
    try {
      await this.#start();
      for (let round = 0; round < this.#o.rounds; round++) results.push(await this.#round(round));
      for (const node of [...this.#nodes.values()].reverse()) {
        const end = await node.stop();
        if (end !== 0) throw new Error(`the stop of a node ended with ${end}\n${this.#logs()}`);
      }
      return results;
    } finally {
      await stopAll();
      for (const machine of this.#machines.values()) machine.stop();
    }
  }

  /** A primary here, and each replica on a machine of its own; all on loopback where there is no network of our own. */
  async #start(): Promise<void> {
    const port = await freePort();
    const commit = COMMIT_LIMITS[this.#o.seed % COMMIT_LIMITS.length];
    const shared = { writes: { ...WRITE_SETTINGS, commit }, log: { level: 'info', format: 'json' } };
    const replication = { listen: isInOwnNetwork() ? `0.0.0.0:${port}` : `127.0.0.1:${port}`, token: TOKEN };
    this.#nodes.set('primary', await startPrimary({ ...shared, replication }));
    for (const [i, name] of NODES.filter((name) => name !== 'primary').entries()) {
      const machine = isInOwnNetwork() ? await Machine.start(i + 1) : undefined;
      if (machine !== undefined) this.#machines.set(name, machine);
      const replica = await startReplica(`ws://${machine?.here ?? '127.0.0.1'}:${port}`, {
        ...shared,
        ...(machine === undefined ? {} : { machine }),
        replication: { listen: 'off', token: TOKEN },
        mount: { locks: this.#o.writers.includes(name) ? 'sluice' : 'auto' },
      });
      this.#nodes.set(name, replica);
    }
  }

  async #round(round: number): Promise<RoundResult> {
    const random = new Random(this.#o.seed * 1000 + round);
    const chosen = random.pick(MODES);
    const mode = this.#o.mode ?? chosen;
    const database = `round-${round}.db`;
    const millis = this.#o.seconds * 1000;
    const plan = this.#o.faults ? planFaults(random, millis, NODES, [...this.#machines.keys()]) : [];
    const about = `round ${round} (${mode}): ${describePlan(plan) || 'no faults'}`;
    const folder = join(this.#o.keep ?? freshFolder('linear'), `round-${round}`);
    // Clients append: what an earlier campaign left here would be taken for a part of this one.
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    const clients: Client[] = [];
    try {
      await this.#makeDatabase(database, mode);
      await this.#work(database, millis, folder, clients, random, plan);
      const history = await this.#afterwards(database, folder, clients);
      const result = this.#judge(history, folder);
      this.#o.report(`${about}\n  ${describeResult(result, history)}`);
      return result;
    } catch (error) {
      await Promise.all(clients.map((client) => client.kill()));
      throw new Error(`${about}\n${(error as Error).message}\nhistories: ${folder}\n${this.#logs()}`, { cause: error });
    }
  }

  async #makeDatabase(name: string, mode: string): Promise<void> {
    const primary = this.#node('primary');
    makeDatabase(primary.path(name), mode);
    await this.#same(name);
  }

  async #work(
    database: string,
    millis: number,
    folder: string,
    clients: Client[],
    random: Random,
    plan: ReturnType<typeof planFaults>,
  ): Promise<void> {
    const endMs = performance.now() + millis;
    const start = (node: NodeName): void => {
      const client = clients.length;
      clients.push(
        new Client({
          client,
          node,
          path: this.#node(node).path(database),
          writes: this.#o.writers.includes(node),
          seed: random.below(1e9),
          millis: Math.max(0, endMs - performance.now()),
          busyMs: random.pick(BUSY_MS),
          history: join(folder, `client-${client}.jsonl`),
        }),
      );
    };
    for (const node of NODES) for (let i = 0; i < this.#o.clientsPerNode; i++) start(node);
    const replace = ({ task }: Client): void => start(task.node);
    await strike(plan, { nodes: this.#nodes, machines: this.#machines, clients: () => clients, replace }, random);
    await Promise.all(clients.map((client) => client.finish(endMs - performance.now() + FINISH_LIMIT_MS)));
  }

  /** All three nodes come to the same content, and a last client looks at it there. */
  async #afterwards(database: string, folder: string, clients: Client[]): Promise<Operation[]> {
    for (const node of this.#nodes.values()) await node.ready(HEAL_LIMIT_MS);
    await this.#same(database);
    const failures = clients.flatMap(({ failure }) => failure ?? []);
    if (failures.length > 0) throw new Error(failures.join('\n'));
    for (const node of NODES) clients.push(await this.#look(node, database, folder, clients.length));
    return clients.flatMap((client) => client.history);
  }

  /** The last commits are read by nobody else: lost ones would not be missed. */
  async #look(node: NodeName, database: string, folder: string, client: number): Promise<Client> {
    const path = this.#node(node).path(database);
    const history = join(folder, `client-${client}.jsonl`);
    const common = { client, node, path, history, writes: false, seed: client, millis: 0 };
    const last = new Client({ ...common, busyMs: LAST_LIMIT_MS, isLast: true });
    await last.finish(LAST_LIMIT_MS * 2);
    if (last.failure !== undefined) throw new Error(last.failure);
    const failed = last.history.find(({ kind }) => kind !== 'ok');
    if (failed !== undefined) throw new Error(`the last look on the ${node}: ${JSON.stringify(failed)}`);
    return last;
  }

  async #same(database: string): Promise<void> {
    for (const name of NODES) {
      if (name === 'primary') continue;
      await waitUntilSame(this.#node('primary'), this.#node(name), database, HEAL_LIMIT_MS);
    }
  }

  #judge(history: readonly Operation[], folder: string): RoundResult {
    const linear = history.filter(isLinear);
    const verdicts = (['register', 'bank'] as const).map((model) => judgeLinear(model, linear, folder));
    const found = [...verdicts.flatMap(complaints), ...judgeSessions(history), ...unexpectedErrors(history)];
    if (found.length > 0) throw new Error(found.join('\n'));
    const done = history.filter(({ kind, wrote }) => kind === 'ok' && wrote);
    const writes = NODES.map((name) => [name, done.filter(({ node }) => node === name).length] as const);
    const unknown = history.filter(({ kind }) => kind === 'unknown').length;
    return { operations: history.length, writes: new Map(writes), unknown, verdicts };
  }

  #node(name: NodeName): ClusterNode {
    return this.#nodes.get(name)!;
  }

  #logs(): string {
    return [...this.#nodes].map(([name, node]) => `--- log of the ${name}:\n${node.log.slice(-LOG_CHARS)}`).join('\n');
  }
}

function describeResult({ operations, writes, unknown, verdicts }: RoundResult, history: readonly Operation[]): string {
  const judged = verdicts.map(({ model, operations: count }) => `${model} ${count}`).join(', ');
  const written = [...writes].map(([name, count]) => `${name} ${count}`).join(', ');
  const errors = new Map<string, number>();
  for (const { error, node } of history) {
    if (error === undefined) continue;
    const name = `${error.code} at ${error.step} on the ${node === 'primary' ? node : 'replicas'}`;
    errors.set(name, (errors.get(name) ?? 0) + 1);
  }
  const failed = [...errors].map(([name, count]) => `${count} ${name}`).join(', ');
  return `${operations} operations, linearizable: ${judged}; writes: ${written}; ${unknown} unknown; errors: ${failed || 'none'}`;
}
