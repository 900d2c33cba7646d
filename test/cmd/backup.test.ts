import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { CREATE, folderPlace, insert, newSet } from '../backup/scenario.js';
import { filesBelow, withWorkbench } from '../backup/workbench.js';
import { Uploader } from '../feed/feed-scene.js';
import { runSluice } from './run-sluice.js';

const WRONG = { damaged: '{"version":1,', newer: '{"version":3}' };

for (const [kind, bytes] of Object.entries(WRONG)) {
  test(`a ${kind} manifest: list and status show the rest and say so, prune passes over that database only`, () =>
    withWorkbench(async (bench) => {
      const set = newSet(bench);
      const place = folderPlace(bench);
      const root = place.open();
      bench.onEnd(() => root.close());
      for (const name of ['a.db', 'b.db', 'c.db']) {
        const app = set.create(name);
        app.write(CREATE);
        const uploader = new Uploader(root, app);
        await uploader.snapshot();
        app.write(insert(10));
        await uploader.snapshot();
        await uploader.publish();
      }
      const folder = join(place.folder, 'b.db');
      const [manifest] = filesBelow(folder, '.json');
      writeFileSync(join(folder, manifest!), bytes);
      const retain = { age: '1h', snapshots: 1, fine: '1h' };
      writeFileSync(join(bench.folder, 'sluice.yml'), JSON.stringify({ backup: { url: place.url, retain } }));
      const run = (...args: string[]) => runSluice(['backup', ...args], bench.folder);

      const status = await run('status');
      assert.is(status.code, 0, status.stderr);
      const rows = status.stdout.split('\n').filter((line) => /^[abc]\.db/.test(line));
      assert.equal(
        rows.map((row) => [row.split(/ +/).slice(0, 2).join(' '), row.endsWith(' the manifest cannot be understood')]),
        ['a.db', 'b.db', 'c.db'].map((name) => [`${name} 0000000000000002`, name === 'b.db']),
      );
      const told = JSON.parse((await run('status', '--json')).stdout);
      assert.equal(
        told.map((row: { database: string; manifestProblem: string | null; writer: object | null }) => [
          row.manifestProblem?.startsWith(`${place.url}/b.db: the manifest cannot be understood`) ?? null,
          row.writer === null,
        ]),
        [
          [null, false],
          [true, true],
          [null, false],
        ],
      );

      const list = await run('list', `${place.url}/b.db`);
      assert.is(list.code, 0, list.stderr);
      assert.match(list.stdout, /newest +0000000000000002 of /);
      assert.match(list.stdout, '/b.db: the manifest cannot be understood');
      assert.not.match(list.stdout, 'writer');
      const json = JSON.parse((await run('list', '--json', `${place.url}/b.db`)).stdout);
      assert.equal([json.writer, json.snapshots.length, typeof json.manifestProblem], [null, 2, 'string']);

      const before = filesBelow(folder, '.ltx');
      const prune = await run('prune');
      assert.is(prune.code, 1);
      assert.match(prune.stderr, `sluice: ${place.url}/b.db: the manifest cannot be understood`);
      for (const name of ['a.db', 'c.db']) assert.match(prune.stdout, `${place.url}/${name}: `);
      assert.not.match(prune.stdout, '/b.db');
      assert.equal(filesBelow(folder, '.ltx'), before);
    }));
}

test.run();
