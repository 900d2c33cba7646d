import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { open, readFile, rename, stat, unlink, writeFile } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { chooseDriver } from '../../src/fuse/index.js';
import { mountAt, tableOf } from '../../src/fuse/mount-table.js';
import { nativeStatfs } from '../../src/fuse/native-stat.js';
import { NodeTable } from '../../src/fuse/nodes.js';
import { OpenHandles } from '../../src/fuse/open-handles.js';
import { VirtualViews } from '../../src/fuse/virtual-views.js';
import { until } from '../support/until.js';
import { client, DRIVERS, TestFolders, TestServer, withMount } from './support/mounted.js';

/** What is libfuse's own; the rest that both drivers do is in files.test.ts and sqlite.test.ts. */

const withLibfuse: typeof withMount = (options, run) => withMount({ driver: 'libfuse', ...options }, run);

test('virtual files: what has changed is looked up again before an open, and dropped; nobody is answered ESTALE twice', () => {
  let nowMs = 0;
  const views = new VirtualViews(() => nowMs);
  const [one, other, third] = [11, 12, 13];
  const [first, second, longer] = ['epoch 7\n', 'epoch 8\n', 'epoch 10\n'].map((text) => Buffer.from(text)) as Buffer[];
  const [was, is, grown] = [first!, second!, longer!];
  assert.is(views.mayOpen('a', one, was), false, 'the kernel may have an old one');
  assert.is(views.size('a', was), 9);
  assert.ok(views.mayOpen('a', one, was));
  assert.ok(views.mayOpen('a', one, was), 'nothing was read since');
  views.read('a', was);
  assert.is(views.mayOpen('a', one, was), false, 'the kernel may believe the size that is too large');
  assert.is(views.size('a', was), 8, 'the true one');
  for (const pid of [one, other, third]) assert.ok(views.mayOpen('a', pid, was), 'nothing has changed');
  views.read('a', was);
  assert.ok(views.mayOpen('a', other, was), 'whoever read it');

  assert.is(views.mayOpen('a', one, is), false, 'it has changed');
  assert.is(views.size('a', is), 9, 'another than the 8 that the kernel has');
  // Another reads it before who was answered so comes back.
  assert.ok(views.mayOpen('a', other, is));
  views.read('a', is);
  assert.is(views.mayOpen('a', third, is), false);
  assert.ok(views.mayOpen('a', one, is));
  assert.is(views.size('a', was), 10, 'neither the 8 that it read, nor the 9 that it was told');
  assert.is(views.mayOpen('a', other, grown), false, 'changed again, since its size was told');
  assert.is(views.mayOpen('b', one, is), false, 'each for itself');
  // It was killed, and its number is another's now.
  nowMs += 2000;
  assert.is(views.mayOpen('a', third, grown), false);
});

test('numbers of open files are given again, the one of a closed file to no other until then', () => {
  const table = new NodeTable({ fd: () => -1 });
  const handles = new OpenHandles();
  const [one, two] = [handles.add({ node: table.root, flags: 0 }), handles.add({ node: table.wake, flags: 2 })];
  assert.equal([one, two], [1, 2]);
  assert.is(handles.remove(one)?.node, table.root);
  assert.is(handles.get(one), undefined);
  assert.is(handles.remove(one), undefined);
  assert.is(handles.add({ node: table.wake, flags: 0 }), one);
  assert.is(handles.add({ node: table.wake, flags: 0 }), 3);
  assert.is(handles.get(0), undefined);
});

test('a large file system is told in larger blocks', () => {
  const [bsize, , blocks, , bavail] = nativeStatfs({
    bsize: 4096,
    blocks: 2 ** 33,
    bfree: 2 ** 32,
    bavail: 2 ** 31,
    files: 2 ** 40,
    ffree: 5,
  });
  assert.equal([bsize, blocks, bavail], [16384, 2 ** 31, 2 ** 29]);
});

test("the mount table of macOS's mount program is read as Linux's own", () => {
  const table = tableOf('/dev/disk1s1 on / (apfs, local)\nsluice on /Users/a b/mnt (macfuse, nodev, nosuid)\n');
  const { type, source } = mountAt('/Users/a b/mnt', table)!;
  assert.equal([type, source], ['fuse', 'sluice']);
  assert.is(mountAt('/', table)?.type, 'apfs');
});

if (DRIVERS.includes('libfuse')) {
  test('the driver is chosen by who asks; what it cannot do is refused', () => {
    assert.is(chooseDriver('auto', 'sluice').name, 'raw');
    assert.is(chooseDriver('libfuse', 'auto').name, 'libfuse');
    assert.throws(() => chooseDriver('libfuse', 'sluice'), /leaves locks to the kernel/);
    const path = process.env.PATH;
    const { geteuid } = process;
    try {
      process.geteuid = () => 65534;
      assert.is(chooseDriver('auto', 'auto').name, 'libfuse');
      assert.throws(() => chooseDriver('auto', 'sluice'), /leaves locks to the kernel/);
      process.env.PATH = '/nowhere';
      assert.throws(() => chooseDriver('auto', 'auto'), /needs root; there is no fusermount/);
    } finally {
      Object.assign(process, { geteuid });
      process.env.PATH = path;
    }
  });

  test('a virtual file comes, changes with each open, and goes; hidden names are not listed', () =>
    withLibfuse({}, async ({ path }, server) => {
      const read = (): Promise<string> => readFile(`${path}/.primary`, 'utf8').catch((error) => error.code);
      assert.is(await read(), 'ENOENT');
      server.send({ mount: 0, primary: 1 });
      // A missing name is believed to be missing for a second.
      await until('it is there', async () => (await read()) === 'epoch 1\n');
      for (const epoch of [7, 8, 1234, 9, 5678]) {
        server.send({ mount: 0, primary: epoch });
        await server.status();
        assert.is(await read(), `epoch ${epoch}\n`);
        assert.is(await read(), `epoch ${epoch}\n`, 'again');
        await stat(`${path}/.primary`);
        assert.is(await read(), `epoch ${epoch}\n`, 'after its size was asked for');
        server.send({ mount: 0, primary: epoch + 10 });
        await server.status();
        assert.is(await read(), `epoch ${epoch + 10}\n`, 'of the same length');
      }
      const many = await Promise.all(Array.from({ length: 40 }, read));
      assert.equal([...new Set(many)], ['epoch 5688\n']);
      assert.is(await writeFile(`${path}/.primary`, 'x').catch((error) => error.code), 'EACCES');
      assert.is(await unlink(`${path}/.primary`).catch((error) => error.code), 'EPERM');
      await writeFile(`${path}/.hidden-one`, 'there');
      assert.is(await client('list-client', [path]), '[]\n');
      server.send({ mount: 0, primary: 0 });
      await server.status();
      assert.is(await read(), 'ENOENT');
    }));

  test('a deferred write waits for the wake-up and holds up nobody else', () =>
    withLibfuse({}, async ({ path, backing }, server) => {
      const files = await Promise.all([1, 2, 3].map((n) => open(`${path}/deferred-${n}`, 'w')));
      let done = 0;
      const written = files.map((file) => file.write('late').then(() => done++));
      await until('all wait', async () => (await server.status()).deferred === 3);
      await writeFile(`${path}/other`, 'not held up');
      assert.is(await readFile(`${path}/other`, 'utf8'), 'not held up');
      assert.is(done, 0);
      assert.is(readFileSync(`${backing}/deferred-1`, 'utf8'), '');
      server.send({ mount: 0, allow: 2 });
      await until('two are written', () => done === 2);
      assert.is((await server.status()).deferred, 1);
      server.send({ mount: 0, allow: 1 });
      await Promise.all(written);
      for (const n of [1, 2, 3]) assert.is(readFileSync(`${backing}/deferred-${n}`, 'utf8'), 'late');
      for (const file of files) await file.close();
    }));

  test('more deferred requests than are kept are refused', () =>
    withLibfuse({ maxDeferred: 1 }, async ({ path }, server) => {
      const files = await Promise.all([1, 2].map((n) => open(`${path}/deferred-${n}`, 'w')));
      const first = files[0]!.write('late');
      await until('one waits', async () => (await server.status()).deferred === 1);
      assert.is(await files[1]!.write('x').catch((error) => error.code), 'EAGAIN');
      server.send({ mount: 0, allow: 1 });
      await first;
      for (const file of files) await file.close();
    }));

  test('an unlinked file that is open keeps its data under no name', () =>
    withLibfuse({}, async ({ path, backing, run }, server) => {
      await writeFile(`${path}/x`, 'kept');
      const file = await open(`${path}/x`, 'r+');
      await unlink(`${path}/x`);
      assert.equal(readdirSync(path), []);
      assert.equal(readdirSync(backing), []);
      assert.is((await file.stat()).nlink, 0);
      await file.write('K', 0);
      assert.is(await file.readFile('utf8'), 'Kept');
      assert.is(readdirSync(`${run}/orphans`).length, 1);
      await file.close();
      await until('its data is gone', async () => {
        await server.status();
        return readdirSync(`${run}/orphans`).length === 0;
      });
    }));

  test("libfuse's names for unlinked files are nobody's: a rename to one would be taken for its own", () =>
    withLibfuse({}, async ({ path, backing }) => {
      await writeFile(`${path}/x`, 'kept');
      const hidden = `${path}/.fuse_hidden0000000500000001`;
      assert.is(await rename(`${path}/x`, hidden).catch((error) => error.code), 'EPERM');
      assert.is(await readFile(`${path}/x`, 'utf8'), 'kept');
      assert.ok(existsSync(`${backing}/x`));
    }));

  test('times are set to the millisecond, each to its own', () =>
    withLibfuse({}, async ({ path, backing }) => {
      const file = await open(`${path}/x`, 'w');
      await file.utimes(1_000_000.5, 1_600_000_000.25);
      await file.close();
      const { atimeMs, mtimeMs } = await stat(`${backing}/x`);
      assert.equal([atimeMs, mtimeMs], [1_000_000_500, 1_600_000_000_250]);
    }));

  test('two mounts in one process do not know of each other', async () => {
    const [one, two] = [new TestFolders(), new TestFolders()];
    try {
      const mounts = [one, two].map((folders) => folders.mount({ driver: 'libfuse' }));
      const server = await TestServer.start(mounts);
      try {
        await Promise.all([
          client('insert-client', [`${one.path}/x.db`, 'wal', 'full', '60']),
          client('insert-client', [`${two.path}/x.db`, 'delete', 'full', '30']),
        ]);
        assert.is(await client('check-client', [`${one.backing}/x.db`]), '60 59 ok\n');
        assert.is(await client('check-client', [`${two.backing}/x.db`]), '30 29 ok\n');
      } finally {
        await server.stop();
      }
      assert.equal(server.logged, []);
    } finally {
      await one.remove();
      await two.remove();
    }
  });
}

test.run();
