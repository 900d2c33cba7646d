import { closeSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { open, readFile, stat, writeFile } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { SluiceError } from '../../src/errors.js';
import { measureWakeup, WAKE_NAME } from '../../src/fuse/index.js';
import {
  abortMount,
  cleanStaleMount,
  mountKernel,
  openDevice,
  prepareMountPoint,
  unmount,
} from '../../src/fuse/mount.js';
import { mountAt } from '../../src/fuse/mount-table.js';
import { canMount, client, TestFolders, TestServer, withMount } from './support/mounted.js';

test('the mount table is read, with octal escapes and the topmost mount', () => {
  const table = [
    '36 35 98:0 / /mnt/a\\040b rw - ext4 /dev/sda rw',
    '40 35 0:77 / /mnt/x rw,relatime shared:9 - fuse sluice rw,user_id=0',
    '41 35 0:78 / /mnt/x rw - fuse other\\011one rw',
    'nonsense',
  ].join('\n');
  assert.equal(mountAt('/mnt/a b', table), { path: '/mnt/a b', type: 'ext4', source: '/dev/sda', connection: 0 });
  assert.equal(mountAt('/mnt/x', table), { path: '/mnt/x', type: 'fuse', source: 'other\tone', connection: 78 });
  assert.is(mountAt('/mnt', table), undefined);
});

function codeOf(action: () => unknown): string | undefined {
  try {
    action();
  } catch (error) {
    if (!(error instanceof SluiceError)) throw error;
    assert.ok(error.hint.length > 0, 'says what to do');
    assert.not.ok(error.message.includes('\n'));
    return error.code;
  }
  return undefined;
}

if (canMount) {
  test('mount points that cannot be used are named, and a missing one is made', async () => {
    const folders = new TestFolders();
    try {
      const { home } = folders;
      assert.is(prepareMountPoint(`${home}/new`), `${home}/new`);
      assert.ok(existsSync(`${home}/new`));
      assert.is(
        codeOf(() => prepareMountPoint(`${home}/no/parent`)),
        'MOUNT_POINT',
      );
      writeFileSync(`${home}/file`, '');
      assert.is(
        codeOf(() => prepareMountPoint(`${home}/file`)),
        'MOUNT_POINT',
      );
      mkdirSync(`${home}/full/x`, { recursive: true });
      assert.is(
        codeOf(() => prepareMountPoint(`${home}/full`)),
        'MOUNT_NOT_EMPTY',
      );
      assert.is(await unmount(`${home}/new`, 100), 'not-mounted');
      assert.is(await cleanStaleMount(`${home}/new`), false);
      const server = await TestServer.start([folders.mount()]);
      try {
        assert.is(
          codeOf(() => prepareMountPoint(folders.path)),
          'MOUNT_BUSY',
        );
        assert.is(await cleanStaleMount(folders.path), false, 'a mount that is alive is left alone');
      } finally {
        await server.stop();
      }
      assert.is(mountAt(folders.path), undefined);
    } finally {
      await folders.remove();
    }
  });

  test('what a killed process left is cleaned up, and the place can be used again', async () => {
    const folders = new TestFolders();
    try {
      const first = await TestServer.start([folders.mount()]);
      await writeFile(`${folders.path}/a`, 'first');
      first.kill();
      await first.exited;
      assert.is(await stat(folders.path).catch((error) => error.code), 'ENOTCONN');
      assert.is(await cleanStaleMount(folders.path), true);
      const second = await TestServer.start([folders.mount()]);
      assert.is(await readFile(`${folders.path}/a`, 'utf8'), 'first');
      await second.stop();
    } finally {
      await folders.remove();
    }
  });

  test('a mount that nobody serves can be unmounted', async () => {
    const folders = new TestFolders();
    const deviceFd = openDevice();
    try {
      mountKernel({ deviceFd, path: prepareMountPoint(folders.path), name: 'sluice-test' });
      assert.is(await unmount(folders.path, 100), 'clean');
    } finally {
      closeSync(deviceFd);
      await folders.remove();
    }
  });

  test('an aborted mount fails at once instead of hanging', async () => {
    const folders = new TestFolders();
    const deviceFd = openDevice();
    try {
      mountKernel({ deviceFd, path: prepareMountPoint(folders.path), name: 'sluice-test' });
      const hanging = stat(`${folders.path}/x`).catch((error) => error.code);
      assert.is(abortMount(folders.path), true);
      assert.ok(['ENOTCONN', 'ECONNABORTED'].includes(await hanging));
      assert.is(abortMount(folders.home), false);
    } finally {
      closeSync(deviceFd);
      await folders.remove();
    }
  });

  test('files in use keep a mount until the time is over; then it goes lazily', () =>
    withMount({}, async ({ path }) => {
      await writeFile(`${path}/a`, 'open');
      const file = await open(`${path}/a`, 'r');
      assert.is(await unmount(path, 200), 'lazy');
      assert.is(await file.readFile('utf8'), 'open');
      await file.close();
    }));

  test('two mounts in one process do not know of each other', async () => {
    const [one, two] = [new TestFolders(), new TestFolders()];
    try {
      const server = await TestServer.start([one.mount({ locks: 'sluice' }), two.mount()]);
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

  test('wake-ups can be measured, and a burst asks for awake cores where the machine has them', () =>
    withMount({ wakeups: existsSync('/dev/cpu_dma_latency') ? 'auto' : 'off' }, async ({ path }, server) => {
      const times = await measureWakeup(path);
      assert.ok(times.idleUs > 0 && times.busyUs > 0);
      const { requests, bursts } = await server.status();
      assert.ok((requests.LOOKUP ?? 0) > 300);
      assert.is(bursts > 0, existsSync('/dev/cpu_dma_latency'));
      assert.is((await stat(`${path}/${WAKE_NAME}`)).size, 0);
    }));
}

test.run();
