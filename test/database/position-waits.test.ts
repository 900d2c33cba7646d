import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { PositionWaits } from '../../src/database/position-waits.js';
import { SharedState } from '../../src/database/shared.js';
import { TrackedDatabase } from '../../src/database/tracked-database.js';

const [ONE, OTHER] = [11, 12];
const SLOT = 3;

class Rig {
  readonly shared = new SharedState();
  readonly database = new TrackedDatabase(SLOT, 'a.db', '/nowhere/a.db-wal');
  /** What the next look finds. */
  frames = 0;
  private generation = 1;
  private readonly waits: PositionWaits;

  constructor() {
    const { shared, database } = this;
    Object.defineProperty(database, 'wal', {
      get: () => ({ generation: this.generation, committedFrames: this.seen, header: undefined }),
    });
    const publishWal = () => shared.publishWal(SLOT, this.generation, this.seen);
    this.waits = new PositionWaits(shared, { publishWal }, () => {
      this.seen = this.frames;
      publishWal();
    });
  }

  private seen = 0;

  isOver(pid = ONE): boolean {
    return this.waits.isOver(this.database, pid);
  }

  log(frames: number): boolean {
    this.shared.publishLogged(SLOT, this.generation, frames);
    return this.shared.takeWaiting(SLOT);
  }

  takeBack(frames: number): void {
    this.seen = frames;
  }

  beginAfresh(): void {
    this.generation++;
    this.seen = this.frames = 0;
  }
}

test('what was committed before is waited for, not what is committed meanwhile', () => {
  const rig = new Rig();
  rig.frames = 5;
  assert.not(rig.isOver());
  rig.frames = 9;
  assert.ok(rig.log(4), 'main wakes the worker');
  assert.not(rig.isOver());
  assert.not(rig.isOver(OTHER), 'who comes later waits for more');
  assert.ok(rig.log(5));
  assert.ok(rig.isOver());
  assert.not(rig.isOver(OTHER));
  assert.ok(rig.log(9));
  assert.ok(rig.isOver(OTHER));
  rig.frames = 10;
  assert.not(rig.isOver(), 'asked again, for what is committed by now');
});

test('what was taken back, or went with its WAL, is not waited for', () => {
  const rig = new Rig();
  rig.frames = 5;
  assert.not(rig.isOver());
  rig.takeBack(3);
  rig.log(3);
  assert.ok(rig.isOver());
  rig.frames = 7;
  assert.not(rig.isOver());
  rig.beginAfresh();
  assert.ok(rig.isOver());
});

test('a change that main was asked to log is waited for', () => {
  const rig = new Rig();
  rig.database.pending = { kind: 'changed', sequence: 4 };
  assert.not(rig.isOver());
  rig.database.pending = { kind: 'changed', sequence: 5 };
  rig.shared.settle(SLOT, 4);
  assert.ok(rig.isOver());
});

test.run();
