import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { closeSync } from 'node:fs';
import { readFile, statfs, writeFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { abortMount, mountKernel, openDevice, prepareMountPoint, unmount } from '../../src/fuse/mount.js';
import { canMount, client, TestFolders, TestServer } from './support/mounted.js';

const KILLS = 5;
const ROWS = 300;
const READ_LIMIT_MS = 5000;

/**
 * Whoever holds the device must have no file open on the mount: a fork closes its copy in the child before the new
 * program runs, that close waits for the server, and the fork is what starts the server. Hence another process.
 */
class OrphanHolder {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(path: string) {
    const program = fileURLToPath(new URL('./support/orphan-client.js', import.meta.url));
    this.#child = spawn(process.execPath, [program, path], { stdio: ['pipe', 'pipe', 'inherit'], cwd: '/' });
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  async line(): Promise<string> {
    return String((await this.#lines.next()).value);
  }

  end(): void {
    this.#child.stdin?.end();
  }
}

for (const locks of canMount ? (['kernel', 'sluice'] as const) : []) {
  test(`a server that is killed under load is replaced, and no application sees an error (locks: ${locks})`, async () => {
    const folders = new TestFolders();
    const deviceFd = openDevice();
    try {
      mountKernel({ deviceFd, path: prepareMountPoint(folders.path), name: 'sluice-test' });
      let server = await TestServer.start([folders.mount({ locks })], deviceFd);
      const orphan = new OrphanHolder(`${folders.path}/orphan`);
      assert.is(await orphan.line(), 'ready');
      await client('insert-client', [`${folders.path}/shared.db`, 'wal', 'normal', '0']);
      let running = true;
      const work = Promise.all([
        client('insert-client', [`${folders.path}/wal.db`, 'wal', 'normal', String(ROWS * 10)]),
        client('insert-client', [`${folders.path}/delete.db`, 'delete', 'normal', String(ROWS)]),
        client('insert-client', [`${folders.path}/shared.db`, 'wal', 'normal', String(ROWS)]),
        client('insert-client', [`${folders.path}/shared.db`, 'wal', 'normal', String(ROWS)]),
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
        server = await TestServer.start([folders.mount({ takeover: true, locks })], deviceFd);
        kills++;
      }
      await work;
      assert.is(kills, KILLS, 'the load was over too soon to prove anything');
      orphan.end();
      assert.is(await orphan.line(), 'kept and w');
      for (const [name, rows] of [
        ['wal', ROWS * 10],
        ['delete', ROWS],
        ['shared', ROWS * 2],
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

if (canMount) {
  test('a server that hands over while a sync is under way: the application is told that it worked', async () => {
    const folders = new TestFolders();
    const deviceFd = openDevice();
    try {
      const slowSync = { suffix: 'slow', delayMs: 1500 };
      mountKernel({ deviceFd, path: prepareMountPoint(folders.path), name: 'sluice-test' });
      let server = await TestServer.start([folders.mount({ slowSync })], deviceFd);
      const dd = ['if=/dev/zero', `of=${folders.path}/slow`, 'bs=4k', 'count=1', 'conv=fsync', 'status=none'];
      const application = spawn('dd', dd, { stdio: ['ignore', 'ignore', 'pipe'], cwd: '/' });
      let complaint = '';
      application.stderr.setEncoding('utf8').on('data', (text: string) => {
        complaint += text;
      });
      const ended = new Promise((resolve) => application.once('close', resolve));
      while ((await server.status()).requests.FSYNC !== 1) await new Promise((resolve) => setTimeout(resolve, 10));
      server.send({ mount: 0, handOver: true });
      await server.exited;
      server = await TestServer.start([folders.mount({ takeover: true })], deviceFd);
      assert.is(await ended, 0, complaint);
      assert.equal(server.logged, []);
      await server.stop();
    } finally {
      abortMount(folders.path);
      await folders.remove();
      closeSync(deviceFd);
    }
  });

  test('a disk that is full is no obstacle for who takes over', async () => {
    const folders = new TestFolders();
    const deviceFd = openDevice();
    try {
      const disk = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'sluice-test', folders.run]);
      assert.is(disk.status, 0, `${disk.stderr}`);
      mountKernel({ deviceFd, path: prepareMountPoint(folders.path), name: 'sluice-test' });
      let server = await TestServer.start([folders.mount()], deviceFd);
      await writeFile(`${folders.path}/file`, 'kept');
      await writeFile(`${folders.run}/fill`, Buffer.alloc(64 * 1024)).catch(() => undefined);
      assert.is((await statfs(folders.run)).bavail, 0);
      for (let kill = 0; kill < 2; kill++) {
        server.kill();
        await server.exited;
        server = await TestServer.start([folders.mount({ takeover: true })], deviceFd);
      }
      // By a program that can be given up: this process could not end while it waits for a mount that nobody serves.
      const read = spawnSync('cat', [`${folders.path}/file`], {
        timeout: READ_LIMIT_MS,
        killSignal: 'SIGKILL',
        cwd: '/',
      });
      if (`${read.stdout}` !== 'kept') server.kill();
      assert.is(`${read.stdout}`, 'kept', server.logged.join('; '));
      await server.stop();
    } finally {
      abortMount(folders.path);
      await unmount(folders.path, 200);
      spawnSync('umount', ['-l', folders.run]);
      await folders.remove();
      closeSync(deviceFd);
    }
  });
}

test.run();
