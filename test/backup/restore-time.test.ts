import { readFileSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { findWay, openStore, restore } from '../../src/backup/index.js';
import { searchByTime } from '../../src/backup/restore-time.js';
import { errorCode } from '../../src/errors.js';
import { encodeLtx } from '../../src/ltx/index.js';
import { countRequests } from './counted-store.js';
import { filledStore, folderPlace } from './scenario.js';
import { filesBelow, withWorkbench } from './workbench.js';

/** As FakeDatabase times its transactions. */
const timeOf = (txid: number): number => 1_700_000_000_000 + 1000 * txid;

async function search(times: readonly (number | undefined)[], wanted: number) {
  const { before, after } = await searchByTime(times.length, wanted, async (i) => times[i]);
  return [before?.index, after?.index];
}

test('the last at or before a time, and the one after it', async () => {
  const times = [10, 20, 20, 30];
  assert.equal(await search(times, 9), [undefined, 0]);
  assert.equal(await search(times, 10), [0, 1]);
  assert.equal(await search(times, 20), [2, 3]);
  assert.equal(await search(times, 29), [2, 3]);
  assert.equal(await search(times, 30), [3, undefined]);
  assert.equal(await search(times, 31), [3, undefined]);
  assert.equal(await search([], 31), [undefined, undefined]);
});

test('any times in order, some unknown: as a look at all of them', () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(50), fc.boolean()), { maxLength: 40 }),
      fc.nat(60),
      async (steps, wanted) => {
        const sorted = steps.map(([time]) => time).sort((a, b) => a - b);
        const times = sorted.map((time, i) => (steps[i]![1] ? time : undefined));
        const known = times.flatMap((time, index) => (time === undefined ? [] : [{ time, index }]));
        const before = known.filter(({ time }) => time <= wanted).at(-1)?.index;
        const after = known.find(({ time }) => time > wanted)?.index;
        assert.equal(await search(times, wanted), [before, after]);
      },
    ),
  ));

test('a clock that was set back: a state at or before the time whose next is later, and it is told', () =>
  withWorkbench(async (bench) => {
    const store = openStore(`file://${join(bench.folder, 'store')}`).database('app.db');
    const times = [10, 20, 30, 40, 15, 25, 35, 45, 55];
    for (const [i, timestampMs] of times.entries()) {
      const header = { pageSize: 4096, commit: 1, minTxid: i + 1, maxTxid: i + 1, timestampMs };
      const bytes = encodeLtx({ ...header, preApply: 0n, postApply: 0n }, [{ pgno: 1, data: new Uint8Array(4096) }]);
      await store.put({ level: i === 0 ? 9 : 0, ...header }, bytes);
    }
    const at = async (timestampMs: number) => (await findWay(store, { timestampMs })).time!;
    const { state, next, clockWentBack } = await at(27);
    assert.ok(state.timestampMs <= 27 && next!.timestampMs > 27);
    assert.is(next!.txid, state.txid + 1);
    assert.is(clockWentBack, true);
    assert.is((await at(54)).clockWentBack, false);
    assert.is((await at(60)).clockWentBack, false);
  }));

test('a restore to a time: by the headers, whatever a listing says', () =>
  withWorkbench(async (bench) => {
    const place = folderPlace(bench);
    const { images } = await filledStore(bench, place);
    const folder = join(place.folder, 'app.db');
    for (const path of filesBelow(folder, '.ltx')) utimesSync(join(folder, path), 1, 1);
    const store = countRequests(place.open().database('app.db'));
    const output = join(bench.folder, 'restored.db');
    for (const [timestampMs, txid, next] of [
      [timeOf(1), 1, 2],
      [timeOf(4), 2, 5],
      [timeOf(5) - 1, 2, 5],
      [timeOf(5), 5, 8],
      [timeOf(900), 8, undefined],
    ] as const) {
      const result = await restore({ store, output, timestampMs, force: true });
      assert.ok(readFileSync(output).equals(images.get(txid)!), `TXID ${txid}`);
      assert.equal(result.time, {
        state: { txid, timestampMs: timeOf(txid) },
        next: next && { txid: next, timestampMs: timeOf(next) },
        clockWentBack: false,
      });
      assert.is(result.timestampMs, timeOf(txid));
    }
    try {
      await restore({ store, output, timestampMs: timeOf(0), force: true });
      assert.unreachable();
    } catch (error) {
      assert.is(errorCode(error), 'RESTORE_TIME');
      assert.match(String(error), 'the oldest state is of 2023-11-14T22:13:21.000Z');
    }
    const before = store.requests.get;
    await findWay(store, { timestampMs: timeOf(2) });
    assert.ok(store.requests.get - before <= 5, 'only headers are read, and few');
  }));

test.run();
