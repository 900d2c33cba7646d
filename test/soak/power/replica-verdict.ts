import { join } from 'node:path';
import { describeError } from '../../../src/errors.js';
import { formatPosition, type Position, samePosition } from '../../../src/ltx/index.js';
import type { History } from './history.js';
import type { Promises } from './promise.js';
import { ReplicaBench } from './replica-bench.js';
import { type Content, contentOf } from './verdict.js';

/** How long a replica may take to come from a state to where the primary is, at most. */
const ONWARD_LIMIT_MS = 60_000;

/** Starts a replica, without a mount, on data folders, and looks at what it makes of them before and after its primary is there. */
export class ReplicaJudge {
  /** How often recovery came to what, and how it went on. */
  readonly outcomes = new Map<string, number>();

  constructor(
    private readonly promises: Promises,
    private readonly history: History,
  ) {}

  /** Throws if what the replica makes of the data folder `root` is wrong; `onward`: or if it does not get to where the primary is. */
  async judge(root: string, databases: readonly string[], onward: boolean): Promise<void> {
    const bench = new ReplicaBench(root, this.promises.mountPath);
    try {
      await bench.recover();
      for (const { outcome } of bench.outcomes) this.count(outcome);
      for (const name of databases) this.look(bench, name, 'after its recovery');
      await bench.sink.resume();
      for (const name of databases) {
        const held = this.look(bench, name, 'once its applier runs');
        this.count(`then: ${held === undefined ? 'nothing' : this.history.has(name, held) ? 'goes on' : 'a snapshot'}`);
      }
      if (onward) await within(ONWARD_LIMIT_MS, this.goOn(bench, databases));
    } finally {
      await bench.discard();
    }
  }

  /** What users can read of a database, and the node says of it, now. The position that it would tell the primary. */
  private look(bench: ReplicaBench, name: string, when: string): Position | undefined {
    const told = bench.sink.positions().get(name);
    const problem = bench.database(name)?.problem?.error;
    let held: Content | undefined;
    try {
      held = contentOf(bench.backing(name), name, join(bench.root, '..', 'copy'));
      this.promises.check(name, held?.transactions);
    } catch (error) {
      const said = problem === undefined ? 'nothing is said of it' : `it says ${problem.code}`;
      throw new Error(`${name}, ${when}, at ${told && formatPosition(told)}: ${describeError(error)} (${said})`);
    }
    if (told === undefined) return undefined;
    if (told.checksum === 0n) {
      // It asks for a snapshot, and has to say why.
      if (problem === undefined) throw new Error(`${name}, ${when}: its state is not known, and nothing is said of it`);
      return told;
    }
    if (formatPosition(told).split('/')[1] !== held?.checksum) {
      throw new Error(`${name}, ${when}: it is at ${formatPosition(told)}, and its content is ${held?.checksum}`);
    }
    if (!this.history.has(name, told) && problem === undefined) {
      throw new Error(
        `${name}, ${when}: ${formatPosition(told)} is no position of the primary, and nothing is said of it`,
      );
    }
    return told;
  }

  /** The primary is there again: it has what it had at the end of the recording. */
  private async goOn(bench: ReplicaBench, databases: readonly string[]): Promise<void> {
    const { sink } = bench;
    sink.follows(1n, new Map());
    await sink.retain(new Set(databases.filter((name) => this.history.lastOf(name) !== undefined)));
    for (const name of databases) {
      const last = this.history.lastOf(name);
      if (last !== undefined) await this.bring(bench, name);
      const told = sink.positions().get(name);
      const held = contentOf(bench.backing(name), name, join(bench.root, '..', 'copy'));
      const is = told === undefined ? 'nothing' : formatPosition(told);
      const wanted = last === undefined ? 'nothing' : formatPosition(last);
      if (is !== wanted || held?.checksum !== (last && wanted.split('/')[1])) {
        throw new Error(
          `${name}: the primary is at ${wanted}, the replica at ${is}, and its content is ${held?.checksum}`,
        );
      }
    }
  }

  private async bring({ sink }: ReplicaBench, name: string): Promise<void> {
    const last = this.history.lastOf(name)!;
    for (;;) {
      const at = sink.positions().get(name);
      if (at !== undefined && samePosition(at, last)) return;
      const next = at === undefined ? undefined : this.history.next(name, at);
      if (next === undefined) break;
      await sink.receive(name, next);
    }
    const receiver = sink.receiveSnapshot(name, 'diverged');
    await receiver.write(this.history.snapshotOf(name));
    await receiver.finish();
  }

  private count(what: string): void {
    this.outcomes.set(what, (this.outcomes.get(what) ?? 0) + 1);
  }
}

async function within(limitMs: number, work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`it is not where the primary is after ${limitMs} ms`)), limitMs);
  });
  await Promise.race([work, late]).finally(() => clearTimeout(timer));
}
