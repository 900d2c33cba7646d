import { mkdirSync } from 'node:fs';
import { Random } from '../../database/support/random.js';
import { type ClusterNode, freshFolder, startPrimary, startReplica, stopAll, waitFor } from '../../support/cluster.js';
import { usersOf } from '../../support/open-files.js';
import { checkBackup, checkReplica, checkRows, Positions } from './checks.js';
import { FAULTS, type Fault, killsApplications, strike } from './faults.js';
import { Leftovers } from './leftovers.js';
import { WRITER_KINDS, Writer, type WriterKind } from './writers.js';

/** What a campaign is. The same options make the same decisions, not the same timing. */
export interface CampaignOptions {
  readonly rounds: number;
  readonly seed: number;
  readonly locks: 'kernel' | 'sluice';
  /** Backups are restored in each round of this many. */
  readonly restoreEvery: number;
  readonly report: (line: string) => void;
}

export interface CampaignResult {
  readonly rounds: number;
  readonly kills: ReadonlyMap<Fault, number>;
  /** Transactions whose commit was reported. */
  readonly commits: number;
  readonly restores: number;
}

const MAX_FAULTS = 3;
const MAX_WRITERS = 3;
const MIN_PAUSE_MS = 50;
const MAX_PAUSE_MS = 700;
const FIRST_COMMITS_LIMIT_MS = 60_000;
/** Until a replica is connected again, with all its pauses between tries. */
const REST_LIMIT_MS = 60_000;
const LOG_CHARS = 30_000;

/** Kills whatever there is at random moments, and looks after each round whether anything was lost or left. */
/** All that happens to a backup in a week, within seconds. */
const UPKEEP = {
  interval: '100ms',
  levels: ['200ms', '1s', '4s'],
  snapshot: '3s',
  retain: { age: '4s', snapshots: 1, fine: '1s' },
};

export class Campaign {
  readonly #o: CampaignOptions;
  readonly #kills = new Map<Fault, number>();
  readonly #positions = new Positions();
  readonly #leftovers = new Leftovers();
  /** By database: the greatest number that a writer was told is committed. */
  readonly #reported = new Map<string, number>();
  #primary!: ClusterNode;
  #replica!: ClusterNode;
  #store = '';
  #commits = 0;
  #restores = 0;

  constructor(options: CampaignOptions) {
    this.#o = options;
  }

  /** Rejects with what was wrong, the round and its faults, and both nodes' logs. All that was started is ended. */
  async run(): Promise<CampaignResult> {
    try {
      await this.#start();
      for (let round = 0; round < this.#o.rounds; round++) await this.#round(round);
      await this.#end();
    } finally {
      await stopAll();
    }
    return { rounds: this.#o.rounds, kills: this.#kills, commits: this.#commits, restores: this.#restores };
  }

  async #start(): Promise<void> {
    const backup = freshFolder('soak-backup');
    mkdirSync(backup, { recursive: true });
    this.#store = `file://${backup}`;
    const mount = { path: './mnt', locks: this.#o.locks };
    this.#primary = await startPrimary({ mount, backup: { url: this.#store, ...UPKEEP } });
    this.#replica = await startReplica(this.#primary, { mount });
    await this.#atRest();
  }

  async #round(round: number): Promise<void> {
    const random = new Random(this.#o.seed * 1000 + round);
    const faults = Array.from({ length: 1 + random.below(MAX_FAULTS) }, () => random.pick(FAULTS));
    const kinds = chooseKinds(random, faults);
    const about = `round ${round}: ${kinds.map(({ database }) => database).join(', ')}; ${faults.join(', ')}`;
    const startMs = performance.now();
    const writers: Writer[] = [];
    try {
      await this.#strikeUnderLoad(faults, kinds, writers, random);
      await this.#check(kinds, round);
    } catch (error) {
      for (const writer of writers) await writer.kill();
      throw new Error(`${about}\n${(error as Error).message}\n${this.#logs()}`, { cause: error });
    }
    this.#o.report(
      `${about}; ${writers.reduce((sum, { commits }) => sum + commits, 0)} commits, ${((performance.now() - startMs) / 1000).toFixed(1)} s`,
    );
  }

  async #strikeUnderLoad(
    faults: readonly Fault[],
    kinds: readonly WriterKind[],
    writers: Writer[],
    random: Random,
  ): Promise<void> {
    const start = (kind: WriterKind) =>
      writers.push(new Writer(kind, this.#primary.path(kind.database), random.below(1e9)));
    for (const kind of kinds) start(kind);
    await this.#firstCommits(writers);
    const alive = () => writers.filter((writer) => !writer.isOver);
    for (const fault of faults) {
      await new Promise((resolve) => setTimeout(resolve, MIN_PAUSE_MS + random.below(MAX_PAUSE_MS)));
      this.#kills.set(fault, (this.#kills.get(fault) ?? 0) + 1);
      if (fault === 'application') {
        const victim = random.pick(alive());
        await victim.kill();
        start(victim.kind);
      } else {
        // They die with it: one that is just starting would find the bare folder under the mount.
        if (fault === 'whole primary') await Promise.all(alive().map((writer) => writer.kill()));
        await strike(fault, this.#primary, this.#replica, random);
        if (fault === 'whole primary') for (const kind of kinds) start(kind);
      }
      for (const { database } of kinds) await this.#look(database);
      failIfAny(writers);
    }
    const kill = random.chance(0.5) && kinds.every(({ mustLive }) => mustLive !== true);
    for (const writer of alive()) await (kill ? writer.kill() : writer.stop());
    failIfAny(writers);
    for (const { kind, reported, commits } of writers) {
      this.#reported.set(kind.database, Math.max(reported, this.#reported.get(kind.database) ?? 0));
      this.#commits += commits;
    }
  }

  /** Before that there is nothing to lose; a slow machine takes its time. */
  async #firstCommits(writers: readonly Writer[]): Promise<void> {
    await waitFor(() => {
      failIfAny(writers);
      return writers.every(({ commits }) => commits > 0);
    }, FIRST_COMMITS_LIMIT_MS);
  }

  async #look(database: string): Promise<void> {
    await this.#positions.look('primary', this.#primary, database);
    await this.#positions.look('replica', this.#replica, database);
  }

  async #check(kinds: readonly WriterKind[], round: number): Promise<void> {
    const restoring = (round + 1) % this.#o.restoreEvery === 0;
    for (const { database } of kinds) {
      checkRows(this.#primary.path(database), this.#reported.get(database) ?? 0);
      const position = await checkReplica(this.#primary, this.#replica, database);
      await this.#look(database);
      if (!restoring) continue;
      await checkBackup(this.#primary, database, position, this.#store);
      this.#restores++;
    }
    for (const node of [this.#primary, this.#replica]) await noProblems(node);
    await this.#atRest();
  }

  async #atRest(): Promise<void> {
    await this.#leftovers.check('primary', this.#primary);
    await this.#leftovers.check('replica', this.#replica);
  }

  /** All databases, also those that were not in the last rounds, and the clean stop. */
  async #end(): Promise<void> {
    for (const database of this.#reported.keys()) {
      checkRows(this.#primary.path(database), this.#reported.get(database) ?? 0);
      const position = await checkReplica(this.#primary, this.#replica, database);
      await checkBackup(this.#primary, database, position, this.#store);
      this.#restores++;
    }
    for (const node of [this.#replica, this.#primary]) {
      const code = await node.stop();
      if (code !== 0) throw new Error(`the stop ended with ${code}\n${this.#logs()}`);
      const users = usersOf(node.dir).filter((pid) => pid !== process.pid);
      if (users.length > 0) throw new Error(`processes ${users.join(', ')} still use ${node.dir}`);
    }
  }

  #logs(): string {
    const part = (who: string, node: ClusterNode) => `--- log of the ${who}:\n${node.log.slice(-LOG_CHARS)}`;
    return [part('primary', this.#primary), part('replica', this.#replica)].join('\n');
  }
}

/** Two databases or three: more leave the nodes no processor. */
function chooseKinds(random: Random, faults: readonly Fault[]): WriterKind[] {
  const kinds = WRITER_KINDS.filter(({ mustLive }) => mustLive !== true || !faults.some(killsApplications));
  const chosen = new Set<WriterKind>();
  const count = 2 + random.below(MAX_WRITERS - 1);
  while (chosen.size < count) chosen.add(random.pick(kinds));
  return [...chosen];
}

/** A replica may still be on its way back to its primary. */
async function noProblems(node: ClusterNode): Promise<void> {
  let problems: readonly object[] = [];
  await waitFor(
    async () => {
      ({ problems } = await node.status());
      return problems.length === 0;
    },
    REST_LIMIT_MS,
    () => `no problems: ${JSON.stringify(problems)}`,
  );
}

function failIfAny(writers: readonly Writer[]): void {
  for (const { failure } of writers) if (failure !== undefined) throw new Error(failure);
}
