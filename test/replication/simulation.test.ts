import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { SluiceError } from '../../src/errors.js';
import { formatTxid } from '../../src/ltx/index.js';
import { Random } from '../database/support/random.js';
import { BreakableProxy } from './breakable-proxy.js';
import { eventually, FakeSink } from './fakes.js';
import { Pair } from './pair.js';

/** Seeds to run: some fixed ones, or those of SLUICE_SEEDS, comma-separated, to replay a failure. */
const SEEDS = process.env.SLUICE_SEEDS?.split(',').map(Number) ?? [1, 2, 3, 4, 5, 6, 7, 8];
const STEPS = 150;
const KIB = 1024;

const CODES = ['REPLICA_FAILED', 'REPLICA_FAILED', 'REPLICA_GAP', 'REPLICA_DIVERGED', 'LTX_CHECKSUM', 'APPLIER_GONE'];

/** Random commits, drops, resets, prunings, lost connections and failing sinks; then everything must come together. */
async function simulate(seed: number): Promise<void> {
  const numbers = new Random(seed);
  const random = (): number => numbers.next();
  const below = (n: number): number => Math.floor(random() * n);
  const limits = {
    databaseWindowBytes: 300 * KIB,
    connectionWindowBytes: 600 * KIB,
    snapshots: 2,
    snapshotStallMs: 100,
    drainMs: 30_000,
  };
  const pair = new Pair({ limits }, { random });
  const sinks = [pair.sink, new FakeSink()];
  let faulty = true;
  let proxy: BreakableProxy | undefined;
  for (const sink of sinks) {
    sink.before = async (_name, what) => {
      if (random() < 0.3) await new Promise((done) => setTimeout(done, below(5)));
      if (faulty && random() < 0.06) throw new SluiceError(CODES[below(CODES.length)]!, `made up, at ${what}`);
    };
  }
  const nameOf = (): string => `${below(5)}.db`;
  const step = async (): Promise<void> => {
    const name = nameOf();
    const database = pair.databases.get(name);
    const dice = below(100);
    if (dice < 60 || database === undefined)
      pair.databases.commit(name, 1 + below(5), 1 + below(8), `${seed} ${below(3)}`);
    else if (dice < 68) pair.databases.commit(name, 1, 70 + below(100));
    else if (dice < 74) pair.databases.drop(name);
    else if (dice < 78) pair.databases.reset(name);
    else if (dice < 86) database.prune(database.first + below(database.position.txid - database.first + 2));
    else if (dice < 90) proxy?.cut();
    else await new Promise((done) => setTimeout(done, below(20)));
  };
  try {
    await pair.listen();
    proxy = await BreakableProxy.to(pair.url);
    for (const sink of sinks) pair.follow(sink, { url: proxy.url });
    for (let i = 0; i < STEPS; i++) await step();
    faulty = false;
    for (const sink of sinks) {
      await pair.same(sink);
      await eventually(() => sink.copies.size === pair.databases.databases.size, 'the same databases');
    }
    await eventually(() => pair.server.followers().length === sinks.length, 'all connected');
    const behind = () =>
      pair.server
        .followers()
        .flatMap(({ nodeId, databases }) => databases.map((entry) => ({ nodeId, ...entry })))
        .filter(
          ({ name, txid, state }) => state !== 'live' || txid !== formatTxid(pair.databases.get(name)!.position.txid),
        );
    await eventually(() => behind().length === 0, 'everything live and acknowledged').catch((error: unknown) => {
      assert.equal(behind(), [], String(error));
    });
    for (const { openSnapshots, openEntries } of pair.databases.all())
      assert.equal([openSnapshots, openEntries], [0, 0]);
    // Closing waits until all windows are free again, here for much longer than this test does.
    let closed = false;
    void pair.server.close().then(() => {
      closed = true;
    });
    await eventually(() => closed, 'every byte acknowledged');
  } finally {
    await pair.close();
    proxy?.close();
  }
}

for (const seed of SEEDS) test(`simulation ${seed}`, () => simulate(seed));

test.run();
