import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ReadRecord } from '../../../src/disk/trace.js';
import { Random } from '../../database/support/random.js';
import { makeChoice, type Tree, treeOf, writeTree } from './crash-state.js';
import { DiskModel } from './disk-model.js';
import { History } from './history.js';
import { loadTrace } from './load-trace.js';
import { type MountMark, Promises } from './promise.js';
import { ReplicaJudge } from './replica-verdict.js';
import { crashAgain } from './second-crash.js';
import { Judge } from './verdict.js';

/** A database is among those that are looked at for so many records after something was done to it. */
const RECENT_RECORDS = 150;
/** Of 100 states, so many are started twice; on a replica, so many go on until the primary's end. */
const AGAIN_PERCENT = 3;
const ONWARD_PERCENT = 25;
/** Crashes in the middle of the recovery of one state. */
const SECOND_CRASHES = 6;
/** Where a state is made: memory, if there is such a folder. */
const MEMORY = '/dev/shm';

export interface ExploreOptions {
  readonly trace: string;
  readonly seed: number;
  readonly states: number;
  /** In the recovery of one of so many states the machine crashes once more; default: in none. */
  readonly crashAgainEvery?: number | undefined;
  /** `<crash point>.<variant>`: this state alone. */
  readonly only?: string | undefined;
  /** Ends at so many. */
  readonly maxViolations: number;
  readonly progress?: (states: number) => void;
}

/** A state that a node makes something wrong of. */
export interface Violation {
  readonly state: string;
  readonly choice: string;
  readonly error: string;
}

export interface Explored {
  readonly states: number;
  /** Of these after a crash in the middle of a recovery. */
  readonly secondStates: number;
  readonly crashPoints: number;
  readonly violations: readonly Violation[];
  /** How often recovery came to what. */
  readonly outcomes: ReadonlyMap<string, number>;
}

/** Makes crash states of a trace, has a node recover each, and looks at what comes out. */
export async function explore(options: ExploreOptions): Promise<Explored> {
  const records = loadTrace(options.trace);
  const points = records.flatMap((record, index) => (isPoint(record) ? [index] : []));
  const folder = mkdtempSync(join(existsSync(MEMORY) ? MEMORY : tmpdir(), 'sluice-power-'));
  const plan = planOf(points, options);
  const promises = new Promises();
  const judge = isOfReplica(records) ? new ReplicaJudge(promises, new History(records)) : new Judge(promises);
  const exploration = new Exploration(options, folder, promises, judge);
  try {
    for (const [index, record] of records.entries()) {
      exploration.take(record, index);
      for (const variant of plan.get(index) ?? []) {
        await exploration.state(index, variant);
        if (exploration.violations.length >= options.maxViolations) break;
      }
      if (exploration.violations.length >= options.maxViolations) break;
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const { states, secondStates, violations } = exploration;
  return { states, secondStates, crashPoints: points.length, violations, outcomes: judge.outcomes };
}

const isOfReplica = (records: readonly ReadRecord[]): boolean =>
  records.some((record) => record.op === 'mark' && (JSON.parse(record.text) as Partial<MountMark>).replica === true);

/** After records that change what is on the disk, or may be. */
const isPoint = ({ op, label }: ReadRecord): boolean =>
  op === 'mark' ||
  (op !== 'root' &&
    op !== 'sync' &&
    /^(db|wal|journal|super-journal|log|state|sums|name|mark|files-folder|meta-folder|set-aside|set-aside-folder)\./.test(
      label,
    ));

/** The variants at each crash point. The points are taken evenly if there are fewer states than points. */
function planOf(points: readonly number[], { states, only, seed }: ExploreOptions): Map<number, number[]> {
  const plan = new Map<number, number[]>();
  if (only !== undefined) {
    const [index, variant] = only.split('.').map(Number) as [number, number];
    return plan.set(index, [variant]);
  }
  const random = new Random(seed);
  for (let state = 0; state < states; state++) {
    const at = states >= points.length ? state % points.length : Math.floor((state * points.length) / states);
    const index = points[at]!;
    const variants = plan.get(index) ?? [];
    variants.push(random.below(10) === 0 ? random.below(2) : 2 + random.below(1_000_000));
    plan.set(index, variants);
  }
  return plan;
}

class Exploration {
  states = 0;
  secondStates = 0;
  readonly violations: Violation[] = [];
  private readonly model = new DiskModel();
  /** When something was done to the databases of a workload last. */
  private readonly touched = new Map<string, number>();
  /** The workload that is at work. */
  private current = '';
  private readonly root: string;

  constructor(
    private readonly options: ExploreOptions,
    private readonly folder: string,
    private readonly promises: Promises,
    private readonly judge: Judge | ReplicaJudge,
  ) {
    this.root = join(folder, 'data');
  }

  take(record: ReadRecord, index: number): void {
    this.model.take(record, index);
    this.promises.take(record, index);
    if (record.op !== 'mark') {
      if (/^(db|wal|journal|super-journal|log|files-folder)\./.test(record.label))
        this.touched.set(this.current, index);
      return;
    }
    const { db } = JSON.parse(record.text) as { db?: string };
    if (db === undefined) return;
    this.current = groupOf(db);
    this.touched.set(this.current, index);
  }

  async state(index: number, variant: number): Promise<void> {
    this.states++;
    this.options.progress?.(this.states);
    const random = new Random((this.options.seed * 1_000_003 + index * 131 + variant) | 0);
    const made = makeChoice(this.model, variant, random);
    const groups = this.groupsAt(index, random);
    const tree = wantedOf(treeOf(this.model.root, made), groups);
    const databases = this.promises.databases().filter((db) => groups.has(groupOf(db)));
    const again = random.below(100) < (this.promises.ofReplica ? ONWARD_PERCENT : AGAIN_PERCENT);
    const state = { name: `${index}.${variant}`, choice: made.description };
    if (!(await this.isRight(tree, databases, again, state))) return;
    const every = this.options.crashAgainEvery ?? 0;
    if (every === 0 || random.below(every) !== 0) return;
    for (const second of await crashAgain(tree, this.folder, this.promises, SECOND_CRASHES, random)) {
      this.states++;
      this.secondStates++;
      const choice = `${made.description}; ${second.description}`;
      await this.isRight(second.tree, databases, false, { ...state, choice });
    }
  }

  private async isRight(
    tree: Tree,
    databases: readonly string[],
    again: boolean,
    { name, choice }: { readonly name: string; readonly choice: string },
  ): Promise<boolean> {
    rmSync(this.root, { recursive: true, force: true });
    mkdirSync(this.root, { recursive: true });
    writeTree(tree, this.root);
    try {
      await this.judge.judge(this.root, databases, again);
      return true;
    } catch (error) {
      this.violations.push({ state: name, choice, error: error instanceof Error ? error.message : String(error) });
      return false;
    }
  }

  /** The databases of a state: those that something was done to lately, and one of the others. */
  private groupsAt(index: number, random: Random): Set<string> {
    const groups = new Set([...this.touched].filter(([, at]) => index - at < RECENT_RECORDS).map(([group]) => group));
    groups.add(random.pick([...this.touched.keys(), '']));
    return groups;
  }
}

/** The workload of a file or a folder of `meta`, by its name. */
const groupOf = (name: string): string => /^[a-z]*/.exec(name)![0];

function wantedOf(tree: Tree, groups: ReadonlySet<string>, below = ''): Tree {
  const wanted: Tree = new Map();
  for (const [name, entry] of tree) {
    const path = below === '' ? name : `${below}/${name}`;
    if (isWanted(path, groups)) wanted.set(name, entry instanceof Map ? wantedOf(entry, groups, path) : entry);
  }
  return wanted;
}

function isWanted(path: string, groups: ReadonlySet<string>): boolean {
  const [area, name] = path.split('/') as [string, string?];
  if (area === 'run' || area === 'spool' || area === 'node.pid' || path.endsWith('-shm')) return false;
  if (name === undefined || area === 'unlogged' || area === 'set-aside') return true;
  return [...groups].some((group) => group !== '' && groupOf(name).startsWith(group));
}
