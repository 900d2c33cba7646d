import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { KeeperFixture } from './keeper-fixture.js';

if (process.getuid?.() !== 0 || !existsSync('/dev/fuse')) {
  console.log('SKIP keeper: mounting needs root and /dev/fuse');
  process.exit(0);
}

let fixture: KeeperFixture;
const test = suite('keeper');

test.before.each(() => {
  fixture = new KeeperFixture();
});
test.after.each(() => fixture.remove());

test('SIGTERM: drains, unmounts, finishes, in this order, exit code 0', async () => {
  const { child, ended } = fixture.start();
  await fixture.ready();
  assert.ok(fixture.isMounted());
  child.kill('SIGTERM');
  assert.is(await ended, 0);
  assert.match(fixture.notes()[0]!, /^start \d+ fd 3 takeover false$/);
  assert.equal(fixture.notes().slice(1), ['ready', 'drain', 'finish']);
  assert.not.ok(fixture.isMounted());
  assert.is(fixture.stderr, '');
});

test('a node that dies is followed by another on the same mount, which takes over', async () => {
  const { child, ended } = fixture.start('die-once');
  await fixture.until('a second node', () => fixture.notes().filter((note) => note === 'ready').length === 2);
  const starts = fixture.notes().filter((note) => note.startsWith('start'));
  assert.match(starts[0]!, /takeover false$/);
  assert.match(starts[1]!, /takeover true$/);
  assert.ok(fixture.isMounted());
  child.kill('SIGINT');
  assert.is(await ended, 0);
  assert.match(fixture.stderr, /the node died \(SIGKILL\); starting another one on the same mount/);
});

test('a node that dies again and again is given up', async () => {
  const { ended } = fixture.start('die-always');
  assert.is(await ended, 1);
  assert.is(fixture.notes().filter((note) => note.startsWith('start')).length, 10, fixture.stderr);
  assert.match(fixture.stderr, /the node died too often \(last: SIGKILL\); giving up/);
  assert.not.ok(fixture.isMounted());
});

test('a node that cannot start: its own words, exit code 1, nothing is left mounted, no second try', async () => {
  const { ended } = fixture.start('fail-start');
  assert.is(await ended, 1);
  assert.is(fixture.stderr, 'sluice: the disk is on fire. Call the fire brigade\n');
  assert.is(fixture.notes().length, 1);
  assert.not.ok(fixture.isMounted());
});

test('a node that crashes before it ever served gets a fresh mount, not a takeover', async () => {
  const { child, ended } = fixture.start('crash-start-once');
  await fixture.ready();
  const starts = fixture.notes().filter((note) => note.startsWith('start'));
  assert.is(starts.length, 2);
  assert.match(starts[1]!, /takeover false$/);
  child.kill('SIGTERM');
  assert.is(await ended, 0);
});

test('the command runs when ready, sees the mount, and its exit code is ours', async () => {
  const script = 'grep -q " $1 fuse" /proc/self/mounts && echo mounted; exit 7';
  const { ended } = fixture.start('', ['/bin/sh', '-c', script, 'sh', fixture.mount]);
  assert.is(await ended, 7);
  assert.is(fixture.stdout, 'mounted\n');
  assert.equal(fixture.notes().slice(1), ['ready', 'drain', 'finish']);
});

test('signals are passed on to the command; its death by one is 128 + n', async () => {
  const { child, ended } = fixture.start('', [
    '/bin/sh',
    '-c',
    'trap "echo usr1" USR1; echo up; while :; do sleep 0.1; done',
  ]);
  await fixture.until('the command', () => fixture.stdout.includes('up'));
  child.kill('SIGUSR1');
  await fixture.until('the signal', () => fixture.stdout.includes('usr1'));
  assert.not.ok(fixture.notes().includes('drain'));
  child.kill('SIGTERM');
  assert.is(await ended, 143);
  assert.equal(fixture.notes().slice(1), ['ready', 'drain', 'finish']);
});

test('the command outlives a node', async () => {
  const { child, ended } = fixture.start('die-once', ['/bin/sh', '-c', 'echo up; exec sleep 60']);
  await fixture.until('a second node', () => fixture.notes().filter((note) => note === 'ready').length === 2);
  assert.is(fixture.stdout, 'up\n');
  child.kill('SIGTERM');
  assert.is(await ended, 143);
});

test('a command that does not exist: 127, after a clean stop', async () => {
  const { ended } = fixture.start('', ['/no/such/program']);
  assert.is(await ended, 127);
  assert.match(fixture.stderr, /cannot run \/no\/such\/program \(ENOENT\)/);
  assert.ok(fixture.notes().includes('finish'));
});

test('a second node on the same data folder is refused, with the pid of the first', async () => {
  const { child, ended } = fixture.start();
  await fixture.ready();
  const second = fixture.start();
  assert.is(await second.ended, 1);
  assert.match(
    fixture.stderr,
    new RegExp(`^sluice: data folder in use by another node \\(pid ${fixture.nodePid()}\\): .*/data\\. Stop that node`),
  );
  assert.ok(fixture.isMounted());
  child.kill('SIGTERM');
  assert.is(await ended, 0);
});

test('a bad config is refused before anything is mounted', async () => {
  writeFileSync(join(fixture.folder, 'sluice.yml'), 'locks: kernel\nmnt: x\n');
  assert.is(await fixture.start().ended, 1);
  assert.match(
    fixture.stderr,
    /^sluice: .*sluice\.yml:1:1: locks: unknown key.*\. See sluice config check for 1 more\n$/,
  );
  assert.not.ok(existsSync(join(fixture.folder, 'data')));
});

test('a mount point that is not empty is refused', async () => {
  mkdirSync(fixture.mount, { recursive: true });
  writeFileSync(join(fixture.mount, 'file'), '');
  assert.is(await fixture.start().ended, 1);
  assert.match(fixture.stderr, /^sluice: .*data\/mnt.* not empty/);
  assert.is(fixture.notes().length, 0);
});

test('what a killed keeper left is cleaned up by its node, and the next keeper starts', async () => {
  const first = fixture.start();
  await fixture.ready();
  first.child.kill('SIGKILL');
  await first.ended;
  await fixture.until('the orphaned node to stop', () => fixture.notes().includes('finish'));
  await fixture.until('the mount to go', () => !fixture.isMounted());
  const second = fixture.start();
  await fixture.until('a second start', () => fixture.notes().filter((note) => note === 'ready').length === 2);
  second.child.kill('SIGTERM');
  assert.is(await second.ended, 0);
});

test('a stale mount of a killed keeper and node is removed at the start', async () => {
  const first = fixture.start();
  await fixture.ready();
  const node = fixture.nodePid();
  process.kill(first.child.pid!, 'SIGSTOP');
  process.kill(node, 'SIGKILL');
  first.child.kill('SIGKILL');
  await first.ended;
  assert.ok(fixture.isMounted());
  const second = fixture.start();
  await fixture.until('a second start', () => fixture.notes().filter((note) => note === 'ready').length === 2);
  second.child.kill('SIGTERM');
  assert.is(await second.ended, 0);
  assert.not.ok(fixture.isMounted());
});

test('a mount that somebody else removed is not served again', async () => {
  const { ended } = fixture.start();
  await fixture.ready();
  assert.is(spawnSync('umount', ['-l', fixture.mount], { timeout: 10_000 }).status, 0);
  process.kill(fixture.nodePid(), 'SIGKILL');
  assert.is(await ended, 1);
  assert.is(fixture.notes().filter((note) => note.startsWith('start')).length, 1, fixture.stderr);
  assert.match(fixture.stderr, /was unmounted by somebody else; start again to mount it/);
});

test('a node whose keeper dies before it mounts ends, and gives the data folder up', async () => {
  fixture.remove();
  // Its HTTP server alone would keep it.
  fixture = new KeeperFixture(
    'http: { listen: "127.0.0.1:0" }\nreplication: { listen: "off" }\nlog: { level: silent }\n',
  );
  const first = fixture.start('keeper-dies');
  assert.is(await first.ended, 'SIGKILL');
  const node = readFileSync(join(fixture.folder, 'data/node.pid'), 'utf8').trim();
  await fixture.until('the node to end', () => !existsSync(`/proc/${node}`));
  const second = fixture.start();
  await fixture.ready();
  second.child.kill('SIGTERM');
  assert.is(await second.ended, 0);
});

test('a second Ctrl-C does not wait for a node that hangs', async () => {
  const { child, ended } = fixture.start('hang');
  await fixture.ready();
  child.kill('SIGINT');
  await fixture.until('the drain', () => fixture.notes().includes('drain'));
  await new Promise((resolve) => setTimeout(resolve, 600));
  child.kill('SIGINT');
  await new Promise((resolve) => setTimeout(resolve, 600));
  child.kill('SIGINT');
  assert.is(await ended, 1);
  assert.match(fixture.stderr, /the node did not stop cleanly/);
  assert.not.ok(fixture.isMounted());
});

test('the device is not left open in the command', async () => {
  const { ended } = fixture.start('', ['/bin/sh', '-c', 'ls -l /proc/self/fd']);
  assert.is(await ended, 0);
  assert.not.match(fixture.stdout, /\/dev\/fuse/);
});

test('the keeper is small', async () => {
  const { child, ended } = fixture.start();
  await fixture.ready();
  assert.not.match(readFileSync(`/proc/${child.pid}/maps`, 'utf8'), /better_sqlite3|lz4|msgpackr/);
  const rollup = readFileSync(`/proc/${child.pid}/smaps_rollup`, 'utf8');
  const ownKiB = Number(/^Private_Dirty:\s+(\d+) kB/m.exec(rollup)?.[1]);
  assert.ok(ownKiB > 0 && ownKiB < 20_000, `${ownKiB} KiB of its own`);
  child.kill('SIGTERM');
  assert.is(await ended, 0);
});

test.run();
