import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type HalterProcess, Halters } from '../../src/forwarding/index.js';
import { MAX_OWN_HALTERS } from '../../src/forwarding/limits.js';

const test = suite('the processes that take locks for replicas');

/** What was asked of each process, by its number. */
let events: string[];
let failures: number;

function halters(): { readonly all: Halters; of(name: string): Promise<number> } {
  const numbers = new Map<unknown, number>();
  const create = (): HalterProcess => {
    const number = numbers.size;
    const process = {
      start: async () => {
        if (failures-- > 0) throw new Error('no memory');
        events.push(`start ${number}`);
      },
      stop: async () => void events.push(`stop ${number}`),
      close: async (name: string) => void events.push(`close ${number} ${name}`),
    } as unknown as HalterProcess;
    numbers.set(process, number);
    return process;
  };
  const all = new Halters(create, (name) => name.startsWith('waits'));
  return { all, of: async (name) => numbers.get(await all.of(name))! };
}

test.before.each(() => {
  events = [];
  failures = 0;
});

test('one is for all that wait for nobody, and stays', async () => {
  const { all, of } = halters();
  assert.equal(await Promise.all(['a.db', 'b.db', 'a.db'].map(of)), [0, 0, 0]);
  await all.close('a.db');
  assert.is(await of('a.db'), 0);
  assert.equal(events, ['start 0', 'close 0 a.db']);
});

test('a database whose commits wait has one of its own, until nobody writes to it', async () => {
  const { all, of } = halters();
  assert.equal(await Promise.all(['waits-1', 'waits-2', 'a.db', 'waits-1'].map(of)), [0, 1, 2, 0]);
  await all.close('waits-1');
  await all.close('waits-1');
  assert.equal(events.splice(0), ['start 0', 'start 1', 'start 2', 'stop 0']);
  assert.is(await of('waits-1'), 3);
  await all.stop();
  assert.equal(events.sort(), ['start 3', 'stop 1', 'stop 2', 'stop 3']);
});

test('where there are many they share, and the process ends with the last', async () => {
  const { all, of } = halters();
  for (let n = 0; n < MAX_OWN_HALTERS; n++) assert.is(await of(`waits-${n}`), n);
  assert.is(await of('waits-more'), 0);
  assert.is(await of('waits-more'), 0);
  events.splice(0);
  await all.close('waits-0');
  assert.is(await of('waits-more'), 0);
  await all.close('waits-more');
  assert.equal(events, ['close 0 waits-0', 'stop 0']);
});

test('one that cannot be started is tried again', async () => {
  const { of } = halters();
  for (const name of ['a.db', 'waits-1']) {
    failures = 1;
    let failed = false;
    await of(name).catch(() => {
      failed = true;
    });
    assert.ok(failed, name);
    await of(name);
  }
  assert.equal(events, ['start 1', 'start 3']);
});

test('after the end nothing is started', async () => {
  const { all, of } = halters();
  await of('a.db');
  await all.stop();
  let failed = false;
  await of('a.db').catch(() => {
    failed = true;
  });
  assert.ok(failed);
  assert.equal(events, ['start 0', 'stop 0']);
});

test.run();
