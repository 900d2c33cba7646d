import { closeSync } from 'node:fs';
import { open, readFile, unlink } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { mountKernel, openDevice, prepareMountPoint } from '../../src/fuse/mount.js';
import { canMount, client, TestFolders, TestServer } from './support/mounted.js';

const KILLS = 5;
const ROWS = 300;

if (canMount) {
  test('a server that is killed under load is replaced, and no application sees an error', async () => {
    const folders = new TestFolders();
    const deviceFd = openDevice();
    try {
      mountKernel({ deviceFd, path: prepareMountPoint(folders.path), name: 'sluice-test' });
      let server = await TestServer.start([folders.mount()], deviceFd);
      const orphan = await open(`${folders.path}/orphan`, 'w+');
      await orphan.write('kept');
      await unlink(`${folders.path}/orphan`);
      let running = true;
      const work = Promise.all([
        client('insert-client', [`${folders.path}/wal.db`, 'wal', 'normal', String(ROWS * 10)]),
        client('insert-client', [`${folders.path}/delete.db`, 'delete', 'normal', String(ROWS)]),
        client('insert-client', [`${folders.path}/persist.db`, 'persist', 'full', String(ROWS)]),
      ]).finally(() => {
        running = false;
      });
      work.catch(() => undefined);
      let kills = 0;
      while (running && kills < KILLS) {
        await new Promise((resolve) => setTimeout(resolve, 250));
        server.kill();
        await server.exited;
        server = await TestServer.start([folders.mount({ takeover: true })], deviceFd);
        kills++;
      }
      await work;
      assert.is(kills, KILLS, 'the load was over too soon to prove anything');
      const bytes = Buffer.alloc(4);
      await orphan.read(bytes, 0, 4, 0);
      assert.is(bytes.toString(), 'kept');
      await orphan.close();
      for (const [name, rows] of [
        ['wal', ROWS * 10],
        ['delete', ROWS],
        ['persist', ROWS],
      ] as const) {
        assert.is(await client('check-client', [`${folders.path}/${name}.db`]), `${rows} ${rows - 1} ok\n`);
      }
      assert.equal(server.logged, []);
      const saved = JSON.parse(await readFile(`${folders.run}/session.json`, 'utf8')) as { incarnation: number };
      assert.is(saved.incarnation, 1 + KILLS);
      await server.stop();
    } finally {
      await folders.remove();
      closeSync(deviceFd);
    }
  });
}

test.run();
