import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { open, readFile, stat, unlink, writeFile } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { canMount, client, DRIVERS, VARIANTS, withMount } from './support/mounted.js';

if (canMount) {
  for (const [driver, locks] of VARIANTS) {
    test(`does what a plain folder does (driver: ${driver}, locks: ${locks})`, () =>
      withMount({ driver, locks, maxOpenFiles: 4 }, async ({ path, plain, backing, run }, server) => {
        const wanted = await client('operations-client', [plain]);
        const got = await client('operations-client', [path]);
        assert.is(got, wanted);
        assert.ok(wanted.split('\n').length > 40);
        assert.equal(readdirSync(backing), [], 'the backing folder is as empty as the mount');
        await server.status();
        assert.equal(readdirSync(`${run}/orphans`), []);
      }));
  }

  for (const driver of DRIVERS) {
    test(`what is refused is refused with its errno, and changes nothing (driver: ${driver})`, () =>
      withMount({ driver }, async ({ path, backing }) => {
        await writeFile(`${path}/keep-me`, 'kept');
        assert.is(await unlink(`${path}/keep-me`).catch((error) => error.code), 'EROFS');
        assert.is(readFileSync(`${backing}/keep-me`, 'utf8'), 'kept');
        assert.is(await readFile(`${path}/keep-me`, 'utf8'), 'kept');
        const file = await open(`${path}/keep-me`, 'r');
        assert.is(await unlink(`${path}/keep-me`).catch((error) => error.code), 'EROFS', 'while it is open');
        await file.close();
        assert.is(await readFile(`${path}/keep-me`, 'utf8'), 'kept');
      }));
  }

  test('a virtual file comes, changes and goes without being cached; hidden names are not listed', () =>
    withMount({}, async ({ path }, server) => {
      const read = (): Promise<string> => readFile(`${path}/.primary`, 'utf8').catch((error) => error.code);
      assert.is(await read(), 'ENOENT');
      server.send({ mount: 0, primary: 7 });
      await server.status();
      assert.is(await read(), 'epoch 7\n');
      assert.is((await stat(`${path}/.primary`)).size, 8);
      server.send({ mount: 0, primary: 1234 });
      await server.status();
      assert.is(await read(), 'epoch 1234\n');
      assert.is(await writeFile(`${path}/.primary`, 'x').catch((error) => error.code), 'EACCES');
      assert.is(await unlink(`${path}/.primary`).catch((error) => error.code), 'EPERM');
      await writeFile(`${path}/.hidden-one`, 'there');
      assert.is(await readFile(`${path}/.hidden-one`, 'utf8'), 'there');
      assert.is(await client('list-client', [path]), '[]\n');
      server.send({ mount: 0, primary: 0 });
      await server.status();
      assert.is(await read(), 'ENOENT');
    }));

  test('a deferred write waits for the wake-up and holds up nobody else', () =>
    withMount({}, async ({ path, backing }, server) => {
      const file = await open(`${path}/deferred-1`, 'w');
      let done = false;
      const written = file.write('late').then(() => {
        done = true;
      });
      await writeFile(`${path}/other`, 'not held up');
      assert.is(await readFile(`${path}/other`, 'utf8'), 'not held up');
      for (let i = 0; i < 500 && (await server.status()).deferred === 0; i++) await pause(10);
      assert.is((await server.status()).deferred, 1);
      assert.not.ok(done);
      assert.is(readFileSync(`${backing}/deferred-1`, 'utf8'), '');
      server.send({ mount: 0, allow: 1 });
      await written;
      assert.is(readFileSync(`${backing}/deferred-1`, 'utf8'), 'late');
      for (let i = 0; i < 50; i++) {
        server.send({ mount: 0, allow: 1 });
        await file.write('x');
      }
      const status = await server.status();
      assert.is(status.deferred, 0);
      assert.ok((status.requests.NOTIFY_REPLY ?? 0) > 0, 'woken by notification');
      await file.close();
      assert.ok(existsSync(`${backing}/deferred-1`));
    }));

  test('with no room for more deferred requests the others wait unread, and a wake-up comes through', () =>
    withMount({ maxDeferred: 2 }, async ({ path, backing }, server) => {
      const names = ['deferred-1', 'deferred-2', 'deferred-3'];
      const files = await Promise.all(names.map((name) => open(`${path}/${name}`, 'w')));
      let done = 0;
      const written = files.map((file) => file.write('late').then(() => done++));
      for (let i = 0; i < 500 && (await server.status()).deferred < 2; i++) await pause(10);
      const { requests } = await server.status();
      assert.is(requests.WRITE, 2, 'the third was not read');
      server.send({ mount: 0, allow: 1 });
      await Promise.race(written);
      for (let i = 0; i < 500 && (await server.status()).requests.WRITE !== 3; i++) await pause(10);
      assert.is((await server.status()).deferred, 2);
      assert.is(done, 1);
      server.send({ mount: 0, allow: 2 });
      await Promise.all(written);
      for (const name of names) assert.is(readFileSync(`${backing}/${name}`, 'utf8'), 'late');
      assert.is(await readFile(`${path}/deferred-1`, 'utf8'), 'late');
      for (const file of files) await file.close();
    }));
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test.run();
