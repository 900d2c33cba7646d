import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Settler } from '../../src/database/settler.js';

const test = suite('Settler');

/** A settler whose time and files are the test's. */
class Rig {
  nowMs = 0;
  readonly writes = [0, 0];
  readonly asked: number[] = [];
  readonly settler = new Settler(
    (slot) => this.writes[slot]!,
    (slot) => this.asked.push(slot),
    () => this.nowMs,
  );

  /** Lets time pass tick by tick, with a write at each if `writing`. Returns what was asked. */
  pass(ms: number, writing = false): number[] {
    this.asked.length = 0;
    for (const untilMs = this.nowMs + ms; this.nowMs < untilMs; ) {
      this.nowMs += 50;
      if (writing) this.writes[0]!++;
      this.settler.tick();
    }
    return [...this.asked];
  }
}

test('asks once the writes pause, and no more after that', () => {
  const rig = new Rig();
  rig.settler.watch(0);
  rig.settler.watch(0);
  assert.equal(rig.pass(500, true), []);
  assert.equal(rig.pass(150), []);
  assert.equal(rig.pass(100), [0]);
  assert.equal(rig.pass(5000), [], 'not again before the answer');
  rig.settler.answered(0, true);
  assert.equal(rig.pass(5000), []);
});

test('where the writes do not pause it asks all the same after a second, and soon again', () => {
  const rig = new Rig();
  rig.settler.watch(0);
  assert.equal(rig.pass(950, true), []);
  assert.equal(rig.pass(50, true), [0]);
  rig.settler.answered(0, false);
  let asked = 0;
  for (let ms = 0; ms < 2000; ms += 50) {
    if (rig.pass(50, true).length === 0) continue;
    asked++;
    rig.settler.answered(0, false);
  }
  assert.ok(asked >= 7 && asked <= 20, `${asked} times in 2 s`);
});

test('asks ever more rarely while somebody holds the lock and does not write', () => {
  const rig = new Rig();
  rig.settler.watch(0);
  let asked = 0;
  for (let ms = 0; ms < 60_000; ms += 50) {
    if (rig.pass(50).length === 0) continue;
    asked++;
    rig.settler.answered(0, false);
  }
  assert.ok(asked >= 28 && asked <= 45, `${asked} times in a minute`);
  assert.ok(rig.pass(300, true).length <= 1);
  rig.settler.answered(0, false);
  let again = 0;
  for (let ms = 0; ms < 3000; ms += 50) {
    if (rig.pass(50, true).length === 0) continue;
    again++;
    rig.settler.answered(0, false);
  }
  assert.ok(again >= 4, `${again} times in 3 s after it writes again`);
});

test('each database by itself; one that is gone is asked about no more, nor is an answer of it taken', () => {
  const rig = new Rig();
  rig.settler.watch(0);
  rig.settler.watch(1);
  assert.equal(rig.pass(250, true), [1]);
  rig.settler.forget(0);
  rig.settler.answered(0, true);
  rig.settler.answered(1, false);
  assert.equal(rig.pass(1000), [1]);
  rig.settler.close();
  assert.equal(rig.pass(1000), []);
});

test.run();
