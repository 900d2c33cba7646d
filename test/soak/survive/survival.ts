import {
  type ClusterNode,
  startPrimary,
  startReplica,
  stopAll,
  waitFor,
  waitUntilSame,
} from '../../support/cluster.js';
import { Application, Pulse } from './applications.js';

export interface SurvivalOptions {
  /** How often the node is replaced: killed and upgraded in turn. */
  readonly times: number;
  readonly locks: 'kernel' | 'sluice';
  readonly report: (line: string) => void;
}

export interface SurvivalResult {
  /** The longest commit of an application that commits without a rest, for each time. */
  readonly killPausesMs: readonly number[];
  readonly upgradePausesMs: readonly number[];
  /** For how long the keeper says that nobody answered. */
  readonly unansweredMs: readonly number[];
  /** Of the application that commits without a rest. */
  readonly commits: number;
  /** Applications that died while there was no node. */
  readonly deaths: number;
}

/** The journal modes of the databases that have a transaction open, and one that is only read. */
const MODES = ['wal', 'delete', 'truncate'] as const;
const READ_DATABASE = 'read.db';
const ROWS = 80;
/** Every so often an application dies in the pause, and the replica is compared. */
const DEATH_EVERY = 5;
const NEW_NODE_LIMIT_MS = 60_000;
/** The application without a rest commits tens of thousands of transactions, which a replica on the same processors follows later. */
const CATCH_UP_MS = 120_000;

/** What is on one database: its writer, its rival, a reader where one can be beside a writer, and the rows there are. */
interface Scene {
  readonly database: string;
  readonly writer: Application;
  readonly rival: Application;
  readonly reader: Application | undefined;
  rows: number;
}

/** Applications in the middle of transactions while node after node serves their mount. */
export class Survival {
  readonly #o: SurvivalOptions;
  readonly #killPausesMs: number[] = [];
  readonly #upgradePausesMs: number[] = [];
  readonly #unansweredMs: number[] = [];
  readonly #scenes: Scene[] = [];
  readonly #started: { kill(): void }[] = [];
  #primary!: ClusterNode;
  #replica!: ClusterNode;
  #pulse!: Pulse;
  #deaths = 0;

  constructor(options: SurvivalOptions) {
    this.#o = options;
  }

  /** Rejects with the first thing that an application noticed, or that was lost. */
  async run(): Promise<SurvivalResult> {
    try {
      await this.#start();
      for (let time = 0; time < this.#o.times; time++) {
        try {
          await this.#once(time);
        } catch (error) {
          const log = this.#primary.log.slice(-20_000);
          throw new Error(`time ${time}: ${(error as Error).message}\n--- log of the primary:\n${log}`, {
            cause: error,
          });
        }
      }
      const commits = await this.#end();
      return {
        killPausesMs: this.#killPausesMs,
        upgradePausesMs: this.#upgradePausesMs,
        unansweredMs: this.#unansweredMs,
        commits,
        deaths: this.#deaths,
      };
    } finally {
      for (const process of this.#started) process.kill();
      await stopAll();
    }
  }

  async #start(): Promise<void> {
    const { locks } = this.#o;
    this.#primary = await startPrimary({ mount: { path: './mnt', locks } });
    this.#replica = await startReplica(this.#primary);
    for (const mode of MODES) {
      const database = `${mode}.db`;
      const writer = this.#application('writer', database);
      await writer.run(`PRAGMA journal_mode = ${mode}`);
      await writer.run('CREATE TABLE t (id INTEGER PRIMARY KEY, p BLOB)');
      const reader = mode === 'wal' ? this.#application('reader', database) : undefined;
      this.#scenes.push({ database, writer, rival: this.#application('rival', database), reader, rows: 0 });
    }
    const writer = this.#application('writer', READ_DATABASE);
    await writer.run('CREATE TABLE t (id INTEGER PRIMARY KEY, p BLOB)');
    await writer.end();
    this.#pulse = new Pulse(this.#primary.path('pulse.db'), 'wal');
    this.#started.push(this.#pulse);
    await waitFor(async () => (await this.#pulse.beats()).commits > 0);
  }

  #application(role: string, database: string): Application {
    const application = new Application(`the ${role} of ${database}`, this.#primary.path(database));
    this.#started.push(application);
    return application;
  }

  /** One new node, all scenes in the middle of something. */
  async #once(time: number): Promise<void> {
    const spilled = time % 4 < 2;
    const shared = this.#application('reader', READ_DATABASE);
    await shared.run('BEGIN');
    await shared.count();
    for (const { writer, reader } of this.#scenes) {
      await reader?.run('BEGIN');
      await reader?.count();
      await writer.begin(ROWS, spilled);
    }
    const victim = time % DEATH_EVERY === DEATH_EVERY - 1 ? this.#scenes[time % MODES.length] : undefined;
    await this.#pulse.beats();
    await this.#replaceNode(time, victim);
    for (const scene of this.#scenes) await this.#goOn(scene, scene === victim);
    await this.#sharedLockHeld(shared);
    if (victim !== undefined) this.#revive(victim);
  }

  /** Kills the node or has it upgraded; a victim dies while there is no node that would hear of it. */
  async #replaceNode(time: number, victim: Scene | undefined): Promise<void> {
    const upgrade = time % 2 === 1;
    if (victim !== undefined) await this.#killBoth(victim.writer);
    else if (upgrade) await this.#upgrade();
    else await this.#primary.killNode();
    // What waited is done now: the pulse answers again.
    const { longestMs, commits } = await this.#pulse.beats();
    if (victim === undefined) (upgrade ? this.#upgradePausesMs : this.#killPausesMs).push(longestMs);
    const what = victim !== undefined ? `kill, and of ${victim.writer.name}` : upgrade ? 'upgrade' : 'kill';
    this.#o.report(`${time}: ${what}; a commit took ${Math.round(longestMs)} ms at most, of ${commits}`);
  }

  async #upgrade(): Promise<void> {
    const { state, reason, pauseMs } = await this.#primary.upgrade(NEW_NODE_LIMIT_MS);
    if (state !== 'done') throw new Error(`the upgrade failed: ${reason}`);
    this.#unansweredMs.push(pauseMs ?? 0);
    await this.#primary.ready();
  }

  /** The keeper cannot start another node before both are dead. */
  async #killBoth(application: Application): Promise<void> {
    const keeper = this.#primary.keeperPid();
    const node = this.#primary.nodePid();
    process.kill(keeper, 'SIGSTOP');
    try {
      process.kill(node, 'SIGKILL');
      application.kill();
    } finally {
      process.kill(keeper, 'SIGCONT');
    }
    this.#deaths++;
    await waitFor(
      () => this.#primary.nodePid() !== node,
      NEW_NODE_LIMIT_MS,
      () => `a new node\n${this.#primary.log}`,
    );
    await this.#primary.ready();
    await application.ended;
  }

  /** Locks are as they were, the transaction goes on, and then the locks are free. */
  async #goOn(scene: Scene, isDead: boolean): Promise<void> {
    const { database, writer, rival, reader } = scene;
    if (reader !== undefined) {
      const seen = await reader.count();
      if (seen !== scene.rows)
        throw new Error(`${database}: its reader sees ${seen} rows, and began with ${scene.rows}`);
      await reader.run('COMMIT');
    }
    if (!isDead) {
      const refusal = await rival.refused('BEGIN IMMEDIATE');
      if (refusal !== 'SQLITE_BUSY') throw new Error(`${database}: its rival was let in (${refusal})`);
      await writer.insert(1);
      await writer.run('COMMIT');
      scene.rows += ROWS + 1;
    }
    await rival.run('BEGIN IMMEDIATE');
    await rival.insert(1);
    await rival.run('COMMIT');
    scene.rows++;
    const rows = await rival.count();
    if (rows !== scene.rows) throw new Error(`${database}: ${rows} rows of ${scene.rows}`);
  }

  /** A reader of a rollback database keeps writers out for as long as it reads. */
  async #sharedLockHeld(reader: Application): Promise<void> {
    const rival = this.#application('rival', READ_DATABASE);
    const refusal = await rival.refused('BEGIN EXCLUSIVE');
    if (refusal !== 'SQLITE_BUSY') throw new Error(`${READ_DATABASE}: SHARED is no longer held (${refusal})`);
    await reader.run('COMMIT');
    await rival.run('BEGIN EXCLUSIVE');
    await rival.insert(1);
    await rival.run('COMMIT');
    await reader.end();
    await rival.end();
  }

  #revive(scene: Scene): void {
    const index = this.#scenes.indexOf(scene);
    this.#scenes[index] = { ...scene, writer: this.#application('writer', scene.database) };
  }

  /** All of them close; then what there is must be everywhere. Resolves with the commits of the pulse. */
  async #end(): Promise<number> {
    for (const { writer, rival, reader } of this.#scenes) {
      for (const application of [writer, rival, reader]) await application?.end();
    }
    const { total } = await this.#pulse.beats();
    await this.#pulse.end();
    const last = this.#application('last reader', 'pulse.db');
    const rows = await last.run('SELECT count(*) FROM pulse');
    await last.end();
    if (Number(rows) < total) throw new Error(`pulse.db: ${String(rows)} rows, and ${total} were committed`);
    for (const { database } of this.#scenes) await waitUntilSame(this.#primary, this.#replica, database, CATCH_UP_MS);
    for (const database of [READ_DATABASE, 'pulse.db'])
      await waitUntilSame(this.#primary, this.#replica, database, CATCH_UP_MS);
    const { problems } = await this.#primary.status();
    if (problems.length > 0) throw new Error(`problems: ${JSON.stringify(problems)}`);
    return total;
  }
}
