import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { VERSION } from '../../src/version.js';
import { KeeperFixture } from './keeper-fixture.js';

if (process.getuid?.() !== 0 || !existsSync('/dev/fuse')) {
  console.log('SKIP keeper: mounting needs root and /dev/fuse');
  process.exit(0);
}

let fixture: KeeperFixture;
const test = suite('upgrades of a keeper');

test.before.each(() => {
  fixture = new KeeperFixture();
});
test.after.each(() => fixture.remove());

/** The nodes that were started, as `takeover` of each. */
function takeovers(): string[] {
  return fixture.notes().flatMap((note) => /takeover (\w+)$/.exec(note)?.[1] ?? []);
}

test('SIGUSR2: the node hands over to a new one on the same mount, and the application is not told', async () => {
  const { child, ended } = fixture.start('', ['/bin/sh', '-c', 'echo up; exec sleep 60']);
  await fixture.until('the command', () => fixture.stdout.includes('up'));
  const first = fixture.nodePid();
  child.kill('SIGUSR2');
  await fixture.until('the upgrade', () => fixture.upgrade()?.state === 'done');
  assert.equal(fixture.notes().slice(1), [
    'ready',
    'hand over',
    `start ${fixture.nodePid()} fd 3 takeover true`,
    'ready',
  ]);
  const { from, to, pauseMs, number } = fixture.upgrade()!;
  assert.equal([from.pid, to?.pid, number], [first, fixture.nodePid(), 1]);
  assert.is(from.version, VERSION);
  assert.ok(pauseMs !== null && pauseMs > 0);
  assert.not.ok(existsSync(`/proc/${first}`));
  // What it prints comes by another way than what it writes down.
  const told = /upgraded from .* \(pid \d+\) to .* \(pid \d+\); applications waited \d+ ms/;
  await fixture.until('what it says of it', () => told.test(fixture.stderr));
  assert.not.match(fixture.stderr, /died/);
  child.kill('SIGTERM');
  assert.is(await ended, 143);
  assert.is(fixture.upgrade(), undefined, 'nothing says that a keeper runs');
});

test('a version that cannot be loaded: the old node goes on as if nothing had been', async () => {
  const { child, ended } = fixture.start('bad-code');
  await fixture.ready();
  writeFileSync(fixture.once, '');
  child.kill('SIGUSR2');
  await fixture.until('the upgrade', () => fixture.upgrade()?.state === 'failed');
  assert.match(fixture.upgrade()!.reason!, /fake-node\.js: exit code 1; the old node goes on$/);
  assert.equal(fixture.notes().slice(1), ['ready']);
  assert.ok(existsSync(`/proc/${fixture.nodePid()}`));
  rmSync(fixture.once);
  child.kill('SIGUSR2');
  await fixture.until('the second upgrade', () => fixture.upgrade()?.state === 'done');
  assert.is(fixture.upgrade()?.number, 2);
  child.kill('SIGTERM');
  assert.is(await ended, 0);
});

test('a version that does not start: it is said, and tried again for as long as it takes; the mount stays', async () => {
  fixture.limits = { maxDeaths: 2 };
  const { child, ended } = fixture.start('bad-start');
  await fixture.ready();
  writeFileSync(fixture.once, '');
  child.kill('SIGUSR2');
  await fixture.until('the upgrade', () => fixture.upgrade()?.state === 'failed');
  assert.match(fixture.upgrade()!.reason!, /^a version that cannot start; it is tried again/);
  // A node that dies so often without an upgrade is given up.
  await fixture.until('more starts than a node that dies gets', () => takeovers().length > 3);
  assert.ok(fixture.isMounted());
  rmSync(fixture.once);
  await fixture.until('another version', () => fixture.notes().filter((note) => note === 'ready').length === 2);
  assert.ok(fixture.isMounted());
  child.kill('SIGTERM');
  assert.is(await ended, 0);
});

test('a node that does not let go of the mount is killed', async () => {
  fixture.limits = { handOverMs: 500 };
  const { child, ended } = fixture.start('hold-on');
  await fixture.ready();
  const first = fixture.nodePid();
  child.kill('SIGUSR2');
  await fixture.until('the handover', () => fixture.notes().includes('hand over'));
  child.kill('SIGUSR2');
  await fixture.until('two upgrades', () => fixture.upgrade()?.number === 2 && fixture.nodePid() !== first);
  await fixture.until('what it says', () => fixture.stderr.includes('the old node did not hand over in time'));
  const ready = () => fixture.notes().filter((note) => note === 'ready').length;
  const readyBefore = ready();
  process.kill(fixture.nodePid(), 'SIGKILL');
  await fixture.until('the second upgrade', () => fixture.upgrade()?.state === 'done');
  // Before that nobody is there to end the mount well.
  await fixture.until('the next node', () => ready() > readyBefore);
  child.kill('SIGTERM');
  assert.is(await ended, 0);
});

test('a stop that is asked for in a handover is a clean one of the new node', async () => {
  const { child, ended } = fixture.start();
  await fixture.ready();
  child.kill('SIGUSR2');
  await fixture.until('the handover', () => fixture.notes().includes('hand over'));
  child.kill('SIGTERM');
  assert.is(await ended, 0);
  const last = fixture.notes().filter((note) => note !== 'ready');
  assert.equal(last.slice(-2), ['drain', 'finish']);
  assert.not.ok(fixture.isMounted());
});

test.run();
