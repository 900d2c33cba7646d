import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { configuredStores } from '../../cmd/configured-stores.js';
import { openStore } from '../../src/backup/index.js';
import { withWorkbench } from '../backup/workbench.js';
import { makeSnapshot } from '../ltx/support.js';

test('all databases of a store are met, however deep they are', () =>
  withWorkbench(async (bench) => {
    const url = `file://${join(bench.folder, 'store')}`;
    const names = ['app.db', 'a/b/c/d/e/f/g.db'];
    for (const name of names) {
      const file = { level: 9, minTxid: 1, maxTxid: 1, timestampMs: 0 };
      await openStore(url)
        .database(name)
        .put(file, makeSnapshot(512, 3, 1));
    }
    const config = join(bench.folder, 'sluice.yml');
    writeFileSync(config, JSON.stringify({ data: join(bench.folder, 'data'), backup: { url } }));
    const met: string[] = [];
    for await (const { name } of configuredStores(config)) met.push(name);
    assert.equal(met.sort(), names.sort());
  }));

test.run();
