import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FileStoreRoot } from '../../src/backup/file-store.js';
import { linkOrRename } from '../../src/backup/link.js';
import { readAll } from '../../src/backup/store.js';
import { errorCode } from '../../src/errors.js';
import { expectRestored, folderPlace, insert, newApp, startBackup, untilStored } from './scenario.js';
import { withWorkbench } from './workbench.js';

/** Folders on file systems without hard links. */

function failingLink(code: string): (existing: string, path: string) => Promise<void> {
  return () => Promise.reject(Object.assign(new Error(`${code}: link`), { code }));
}

async function code(action: Promise<unknown>): Promise<string> {
  return action.then(
    () => 'done',
    (error: unknown) => errorCode(error) ?? String(error),
  );
}

test('without links a file is renamed, and one that is there stays', () =>
  withWorkbench(async ({ folder }) => {
    for (const error of ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS']) {
      const [temporary, path] = [join(folder, `${error}.tmp`), join(folder, error)];
      let missing = 0;
      const options = { link: failingLink(error), onMissing: () => missing++ };
      writeFileSync(temporary, 'first');
      assert.is(await linkOrRename(temporary, path, options), true);
      assert.is(missing, 1);
      writeFileSync(temporary, 'second');
      assert.is(await linkOrRename(temporary, path, options), false);
      assert.is(readFileSync(path, 'utf8'), 'first');
    }
  }));

test('another error is not taken for a lack of links', () =>
  withWorkbench(async ({ folder }) => {
    const [temporary, path] = [join(folder, 'file.tmp'), join(folder, 'file')];
    writeFileSync(temporary, 'first');
    assert.is(await code(linkOrRename(temporary, path, { link: failingLink('EIO') })), 'EIO');
    assert.not(existsSync(path));
  }));

test('a store without links keeps files and manifests, and says what that means', () =>
  withWorkbench(async (bench) => {
    const place = folderPlace(bench);
    const root = new FileStoreRoot(place.url, place.folder, undefined, { link: failingLink('EPERM') });
    const store = root.database('app.db');
    const file = { level: 0, minTxid: 1, maxTxid: 1 };
    assert.is(root.warning(), undefined);
    await store.put({ ...file, timestampMs: 0 }, Buffer.from('one'));
    assert.is(root.warning()?.code, 'STORE_UNFENCED');
    assert.match(root.warning()!.message, 'no hard links');
    assert.is(await code(store.put({ ...file, timestampMs: 0 }, Buffer.from('two'))), 'STORE_EXISTS');
    assert.is(Buffer.from(await readAll(store.get(file), 10)).toString(), 'one');
    const tag = await store.writeManifest(Buffer.from('one'), undefined);
    assert.is(await code(store.writeManifest(Buffer.from('two'), undefined)), 'STORE_CONFLICT');
    await store.writeManifest(Buffer.from('three'), tag);
    assert.is(place.open().warning(), undefined);
  }));

test('a whole backup without links', () =>
  withWorkbench(async (bench) => {
    const place = folderPlace(bench);
    const { set, app } = newApp(bench);
    const store = new FileStoreRoot(place.url, place.folder, undefined, { link: failingLink('EPERM') });
    const backup = startBackup(bench, set, place, { store });
    for (let txid = 2; txid < 5; txid++) {
      app.write(insert(10));
      await untilStored(backup, 'app.db', txid);
    }
    await expectRestored(bench, place, app);
  }));

test.run();
