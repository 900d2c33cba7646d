import { mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Backup, findNewest, planRestore, type Store, type StoreFile } from '../../src/backup/index.js';
import { errorCode } from '../../src/errors.js';
import { bytesSource, formatPosition, LtxReader, type Position } from '../../src/ltx/index.js';
import { Random } from '../database/support/random.js';
import { until } from '../support/until.js';
import type { FakeDatabase, FakeDatabaseSet } from './fake-databases.js';
import { CREATE, expectLitestreamRestores, folderPlace, insert, newSet, type Place } from './scenario.js';
import { type Faults, NO_FAULTS, UnreliableRoot } from './unreliable-store.js';
import { filesBelow, ltxVerify, TestLog, type Workbench, withWorkbench } from './workbench.js';

/**
 * Random commits, resets, prunings, crashes, pauses, failing requests, and two primaries at a time on one store; after each
 * round what is restored is compared with what the primary that has the store holds, at each TXID that files end with.
 */

/** Seeds to run: some fixed ones, or those of SLUICE_SEEDS, comma-separated: timing decides too, so one may pass again. */
const SEEDS = process.env.SLUICE_SEEDS?.split(',').map(Number) ?? [1, 2, 3];
const ROUNDS = Number(process.env.SLUICE_ROUNDS ?? 2);
const STEPS = 40;
const CHECKS = 5;
const NAME = 'app.db';
const PAGE_SIZES = [1024, 4096, 8192];
/** The databases' transactions are a second apart, in 2023. */
const RETAIN = { ageMs: 12_000, snapshots: 2, fineMs: 30 };
const LOSES = new Set(['STORE_FENCED', 'STORE_AHEAD', 'STORE_DIVERGED']);

/** A process of a node, with its own way to the store. */
interface Process {
  readonly backup: Backup;
  readonly root: UnreliableRoot;
  readonly log: TestLog;
}

interface Node {
  readonly name: string;
  readonly set: FakeDatabaseSet;
  readonly app: FakeDatabase;
  /** The image after each of its transactions, by position. */
  readonly images: Map<string, Buffer>;
  process: Process;
  paused: boolean;
}

class World {
  readonly nodes: Node[] = [];
  /** What a process said to be stored. */
  readonly reported: { readonly position: Position; readonly by: string }[] = [];
  readonly history: string[] = [];
  private readonly place: Place;
  private readonly random: () => number;
  private faults: Faults = NO_FAULTS;
  private started = 0;

  constructor(
    private readonly bench: Workbench,
    seed: number,
  ) {
    const numbers = new Random(seed);
    this.random = () => numbers.next();
    this.place = folderPlace(bench);
    const set = newSet(bench);
    const node = this.addNode(set, set.create(NAME), new Map());
    node.app.write(CREATE);
  }

  below(n: number): number {
    return Math.floor(this.random() * n);
  }

  get store(): Store {
    return this.place.open().database(NAME);
  }

  async step(): Promise<void> {
    const node = this.nodes[this.below(this.nodes.length)]!;
    const dice = this.below(100);
    if (dice < 50) this.commit(node);
    else if (dice < 55) node.app.log.prune(this.between(node.app.log.first, node.app.log.last + 1));
    else if (dice < 58) this.reset(node);
    else if (dice < 63) await this.kill(node);
    else if (dice < 65) await this.restart(node);
    else if (dice < 70) this.pause(node);
    else if (dice < 73 && this.nodes.length < 2) this.copy(node);
    else if (dice < 77) this.setFaults();
    else await sleep(this.below(40));
  }

  /** Everything works again: one node has the store, the others know that they have not. */
  async settle(): Promise<Node> {
    this.faults = NO_FAULTS;
    for (const node of this.nodes) {
      node.process.root.faults = NO_FAULTS;
      this.resume(node);
      this.commit(node);
    }
    let owner: Node | undefined;
    await until('one node has the store', async () => {
      const loses = (node: Node): boolean => node.process.backup.problems().some(({ code }) => LOSES.has(code));
      const states = await Promise.all(
        this.nodes.map(async (node) => ({ node, stored: await node.process.backup.flush(2000) })),
      );
      owner = states.find(({ node, stored }) => stored && !loses(node))?.node;
      return owner !== undefined && this.nodes.every((node) => node === owner || loses(node));
    });
    await until('nothing is in need of repair', () => owner!.process.backup.problems().length === 0);
    return owner!;
  }

  /** The others end; what they still have to say to the store, they said. */
  async keepOnly(node: Node): Promise<void> {
    for (const other of this.nodes) if (other !== node) await other.process.backup.stop();
    this.nodes.splice(0, this.nodes.length, node);
    node.app.write(insert(1));
  }

  private commit({ app }: Node): void {
    const dice = this.below(10);
    if (dice < 7) app.write(insert(1 + this.below(30)));
    else if (dice < 9) app.write('delete from t where id % 3 = 0');
    else app.write('delete from t where id % 2 = 0; vacuum; create table if not exists u(x)');
  }

  private reset({ app }: Node): void {
    app.resetBy(`pragma page_size=${PAGE_SIZES[this.below(PAGE_SIZES.length)]}; vacuum`);
  }

  private async kill(node: Node): Promise<void> {
    node.process.root.kill();
    void node.process.backup.stop();
    if (this.below(2) === 0) await sleep(this.below(10));
    node.process = this.startProcess(node.name, node.set);
    node.paused = false;
  }

  private async restart(node: Node): Promise<void> {
    this.resume(node);
    await node.process.backup.stop();
    node.process = this.startProcess(node.name, node.set);
  }

  private pause(node: Node): void {
    if (node.paused) this.resume(node);
    else {
      node.paused = true;
      node.process.root.pause();
    }
  }

  private resume(node: Node): void {
    node.paused = false;
    node.process.root.resume();
  }

  /** A second primary: it has the same history so far, as a replica that was promoted. */
  private copy(node: Node): void {
    const set = newSet(this.bench);
    this.addNode(set, node.app.copyTo(set), node.images);
  }

  private setFaults(): void {
    const chance = (limit: number): number => (this.below(2) === 0 ? 0 : this.random() * limit);
    this.faults = { before: chance(0.2), after: chance(0.2), slow: chance(0.6), stale: chance(0.1) };
    for (const node of this.nodes) node.process.root.faults = this.faults;
  }

  private addNode(set: FakeDatabaseSet, app: FakeDatabase, known: ReadonlyMap<string, Buffer>): Node {
    const images = new Map(known);
    const note = (): void => void images.set(formatPosition(app.position), app.image);
    set.subscribe({ transaction: note, reset: note });
    const name = `node${++this.started}`;
    const node = { name, set, app, images, process: this.startProcess(name, set), paused: false };
    this.nodes.push(node);
    return node;
  }

  private startProcess(node: string, set: FakeDatabaseSet): Process {
    const owner = `${node}/${++this.started}`;
    const root = new UnreliableRoot(this.place.open(), this.random, owner, this.history);
    root.faults = this.faults;
    const log = new TestLog();
    const backup = new Backup({
      databases: set,
      store: root,
      owner,
      intervalMs: 4,
      log,
      limits: { retryMinMs: 5, retryMaxMs: 20, stopMs: 200, mergeTransactions: 1 + this.below(5) },
      policy: { levelsMs: [1, 15], snapshotMs: 25, retain: RETAIN },
      hooks: {
        uploaded: ({ position }) => {
          this.reported.push({ position, by: owner });
          this.history.push(`${owner} reports ${formatPosition(position)}`);
        },
        failed: (_name, error) => {
          if (!LOSES.has(errorCode(error) ?? '')) this.history.push(`${owner} fails: ${String(error)}`);
        },
      },
    });
    this.bench.onEnd(() => {
      root.kill();
      return backup.stop();
    });
    backup.start();
    return { backup, root, log };
  }

  private between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }
}

/** The database that files make, applied in this order. Throws where one does not follow the one before it. */
async function imageOf(store: Store, files: readonly StoreFile[]): Promise<{ image: Buffer; position: Position }> {
  let image = Buffer.alloc(0);
  let position: Position = { txid: 0, checksum: 0n };
  for (const file of files) {
    const pieces: Uint8Array[] = [];
    for await (const piece of store.get(file)) pieces.push(piece);
    const reader = new LtxReader(bytesSource(Buffer.concat(pieces)));
    const { pageSize, commit, minTxid, maxTxid, preApply } = reader.header;
    assert.equal([minTxid, maxTxid], [file.minTxid, file.maxTxid]);
    if (minTxid > 1 && minTxid === position.txid + 1 && preApply !== position.checksum)
      throw new Error(`${file.level}:${minTxid}-${maxTxid} does not fit`);
    const page = new Uint8Array(pageSize);
    const next = Buffer.alloc(commit * pageSize);
    if (minTxid > 1) image.copy(next);
    for (let pgno = reader.nextPage(page); pgno !== 0; pgno = reader.nextPage(page))
      next.set(page, (pgno - 1) * pageSize);
    position = { txid: maxTxid, checksum: reader.finish().postApply };
    image = next;
  }
  return { image, position };
}

/** What is restored is the state of this node after some transaction: which one? */
async function expectImage(node: Node, store: Store, files: readonly StoreFile[], how: string): Promise<number> {
  const { image, position } = await imageOf(store, files);
  const right = node.images.get(formatPosition(position));
  assert.ok(right !== undefined, `${how}: ${formatPosition(position)} is a state of the node`);
  assert.ok(image.equals(right), `${how}: what is restored is as it was at ${formatPosition(position)}`);
  return position.txid;
}

async function check(world: World, node: Node, place: Store): Promise<void> {
  const { txid } = node.app.position;
  const newest = await findNewest(place);
  assert.is(await expectImage(node, place, newest.files, 'by the manifest'), txid);
  const files = await place.listAll();
  assert.is(await expectImage(node, place, planRestore(files).files, 'by a listing'), txid);
  for (const target of new Set(files.map((file) => file.maxTxid))) {
    const oldest = Math.min(...files.filter((file) => file.level === 9).map((file) => file.maxTxid));
    if (target < oldest) continue;
    // Who does not know any more what it was then cannot tell what others left.
    if (node.app.log.get(target) === undefined && node.app.log.get(target + 1) === undefined) continue;
    await expectImage(node, place, planRestore(files, target).files, `up to ${target}`);
  }
  for (const { position, by } of world.reported)
    assert.ok(node.images.has(formatPosition(position)), `${formatPosition(position)}, which ${by} said is stored, is`);
}

/** Retention may remove a file after it was listed. */
async function checkWhilePruned(world: World, node: Node, store: Store): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return await check(world, node, store);
    } catch (error) {
      if (errorCode(error) !== 'STORE_NOT_FOUND' || tries === CHECKS) throw error;
    }
  }
}

/** Quiet, so that what is compared does not change. */
async function rest(world: World, node: Node): Promise<void> {
  let before = -1;
  await until('the store is at rest', async () => {
    const { length } = world.history;
    const same = length === before;
    before = length;
    await sleep(40);
    return same;
  });
  assert.is(await node.process.backup.flush(), true);
}

async function simulate(seed: number): Promise<void> {
  await withWorkbench(async (bench) => {
    const world = new World(bench, seed);
    const place = folderPlace(bench);
    try {
      for (let round = 0; round < ROUNDS; round++) {
        for (let i = 0; i < STEPS; i++) await world.step();
        const node = await world.settle();
        await world.keepOnly(node);
        await rest(world, node);
        await checkWhilePruned(world, node, world.store);
        if (round === ROUNDS - 1) {
          expectLitestreamRestores(bench, place, node.app);
          ltxVerify(filesBelow(place.folder, '.ltx').map((path) => join(place.folder, path)));
        }
        world.history.length = 0;
      }
    } catch (error) {
      const path = join(mkdtempSync('/tmp/sluice-simulation-'), `seed-${seed}.txt`);
      const logs = world.nodes.map(({ name, process }) => [
        `== ${name}: ${JSON.stringify(process.backup.problems())}`,
        ...process.log.lines,
      ]);
      const files = await world.store.listAll();
      writeFileSync(
        path,
        [
          String(error),
          ...logs.flat(),
          '== history',
          ...world.history,
          '== files',
          ...files.map((f) => `${f.level}:${f.minTxid.toString(16)}-${f.maxTxid.toString(16)} ${f.timeMs}`),
        ].join('\n'),
      );
      throw new Error(`${error instanceof Error ? error.message : String(error)}; see ${path}`);
    }
  });
}

for (const seed of SEEDS) test(`simulation ${seed}`, () => simulate(seed));

test.run();
