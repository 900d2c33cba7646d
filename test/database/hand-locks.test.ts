import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { HALT_BYTE, HandLocks } from '../../src/database/hand-locks.js';
import type { FromWorker } from '../../src/database/worker-messages.js';
import { DEFER, F_RDLCK, F_UNLCK, F_WRLCK, PROCEED } from '../../src/fuse/index.js';

const test = suite('database/hand-locks');

const [EAGAIN, EINVAL, ENOLCK, ENOSYS] = [11, 22, 37, 38];
const NODE = { id: 7, path: 'sub/app.db-lock' };
const NAME = 'sub/app.db';
const WAITS = true;

/** The lock files, a table that one owner may have the lock in, and what main was told. */
class Scene {
  readonly sent: FromWorker[] = [];
  readonly locks = new HandLocks((message) => this.sent.push(message));
  holder = 0;

  /** What an owner's request comes to, by the hook and by the table. */
  ask(owner: number, waits = false, type: number = F_WRLCK, start = HALT_BYTE, end = HALT_BYTE): number {
    const lock = { node: NODE, owner: { low: owner, high: 1 }, type, start, end, waits };
    const verdict = this.locks.mayLock(lock, (node, byte) => {
      assert.equal([node.id, byte], [NODE.id, HALT_BYTE]);
      return this.holder !== 0;
    });
    if (verdict !== PROCEED || type === F_UNLCK) return verdict;
    if (this.holder !== 0 && this.holder !== owner) return EAGAIN;
    this.holder = owner;
    return PROCEED;
  }

  unlock(owner: number): void {
    if (this.holder === owner) this.holder = 0;
    this.ask(owner, false, F_UNLCK, 0, Number.MAX_SAFE_INTEGER);
  }

  /** What main was told since the last call. */
  told(): string[] {
    return this.sent.splice(0).map((message) => {
      assert.is((message as { name: string }).name, NAME);
      return message.kind;
    });
  }
}

test('the byte is LiteFS’s', () => assert.is(HALT_BYTE, 72));

test('who does not wait is told to come again until main has it; main is asked once', () => {
  const scene = new Scene();
  assert.is(scene.ask(1), EAGAIN);
  assert.is(scene.ask(1), EAGAIN);
  assert.is(scene.ask(2), EAGAIN);
  assert.equal(scene.told(), ['hand-wanted']);
  scene.locks.take(NAME, 'given');
  assert.is(scene.ask(2), PROCEED);
  assert.equal(scene.told(), ['hand-taken']);
  assert.is(scene.ask(1), EAGAIN, 'the table says so');
  assert.is(scene.ask(2), PROCEED, 'again');
  scene.unlock(1);
  assert.equal(scene.told(), []);
  scene.unlock(2);
  assert.equal(scene.told(), ['hand-released']);
  assert.is(scene.ask(1), EAGAIN);
  assert.equal(scene.told(), ['hand-wanted']);
});

test('who waits is deferred; main is told when nobody does any more', () => {
  const scene = new Scene();
  assert.is(scene.ask(1, WAITS), DEFER);
  assert.is(scene.ask(2, WAITS), DEFER);
  assert.is(scene.ask(1, WAITS), DEFER);
  assert.equal(scene.told(), ['hand-wanted']);
  scene.unlock(1);
  assert.equal(scene.told(), []);
  scene.unlock(2);
  assert.equal(scene.told(), ['hand-released']);
  assert.is(scene.ask(3, WAITS), DEFER);
  scene.locks.take(NAME, 'given');
  assert.is(scene.ask(3, WAITS), PROCEED);
  assert.equal(scene.told(), ['hand-wanted', 'hand-taken']);
});

test('what nobody takes goes back, and what somebody took does not', () => {
  const scene = new Scene();
  scene.ask(1);
  scene.locks.take(NAME, 'given');
  scene.locks.take(NAME, 'returned');
  assert.equal(scene.told(), ['hand-wanted', 'hand-released']);
  assert.is(scene.ask(1), EAGAIN);
  scene.locks.take(NAME, 'given');
  assert.is(scene.ask(1), PROCEED);
  scene.locks.take(NAME, 'returned');
  assert.equal(scene.told(), ['hand-wanted', 'hand-taken']);
});

test('what cannot be had: who waits gets an error, who does not may ask again', () => {
  const scene = new Scene();
  scene.ask(1, WAITS);
  scene.locks.take(NAME, 'refused');
  assert.is(scene.ask(1, WAITS), ENOLCK);
  assert.is(scene.ask(2), EAGAIN);
  scene.locks.take(NAME, 'refused');
  assert.is(scene.ask(2), EAGAIN);
  assert.equal(scene.told(), ['hand-wanted', 'hand-wanted', 'hand-wanted']);
});

test('only that byte alone, and only exclusively', () => {
  const scene = new Scene();
  assert.is(scene.ask(1, WAITS, F_WRLCK, HALT_BYTE, HALT_BYTE + 1), EINVAL);
  assert.is(scene.ask(1, WAITS, F_WRLCK, 0, Number.MAX_SAFE_INTEGER), EINVAL);
  assert.is(scene.ask(1, WAITS, F_WRLCK, 71, 71), EINVAL);
  assert.is(scene.ask(1, WAITS, F_RDLCK), ENOSYS);
  assert.equal(scene.told(), []);
});

test('what an earlier process gave is told of, and ends as any other', () => {
  const scene = new Scene();
  scene.holder = 5;
  scene.locks.inherited(NODE, { low: 5, high: 1 });
  assert.equal(scene.sent.splice(0), [{ kind: 'hand-taken', name: NAME, inherited: true }]);
  assert.is(scene.ask(6), EAGAIN);
  scene.locks.take(NAME, 'given');
  scene.unlock(5);
  assert.equal(scene.told(), ['hand-released']);
});

test.run();
