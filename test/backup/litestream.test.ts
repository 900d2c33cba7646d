import { execFileSync } from 'node:child_process';
import { readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import Database from 'better-sqlite3';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatFileName, openStore, restore, verifyBackup } from '../../src/backup/index.js';
import { requireTool } from '../tools.js';
import { litestreamRestore, type Workbench, withWorkbench } from './workbench.js';

/** Has the real Litestream back up a database while a second program writes to it; undefined without Litestream. */
function writeWithLitestream(bench: Workbench): { url: string; path: string } | undefined {
  const program = requireTool('litestream');
  if (program === undefined) return undefined;
  const path = join(bench.folder, 'app.db');
  const db = new Database(path);
  db.pragma('journal_mode = wal');
  db.exec('create table t(id integer primary key, x)');
  db.close();
  const url = pathToFileURL(join(bench.folder, 'store')).href;
  const writer = fileURLToPath(new URL('./litestream-writer.js', import.meta.url));
  const command = `${process.execPath} ${writer} ${path}`;
  execFileSync(program, ['replicate', '-exec', command, path, url], { stdio: 'pipe', timeout: 60_000 });
  return { url, path };
}

test('a store that Litestream wrote is restored as Litestream restores it', () =>
  withWorkbench(async (bench) => {
    const written = writeWithLitestream(bench);
    if (written === undefined) return;
    const ours = join(bench.folder, 'ours.db');
    const theirs = join(bench.folder, 'theirs.db');
    const result = await restore({ store: openStore(written.url).database(''), output: ours });
    litestreamRestore(written.url, theirs);
    assert.ok(result.files > 1, 'a snapshot and what followed');
    assert.is(result.checksum, 0n, 'Litestream names no database checksum');
    assert.ok(readFileSync(ours).equals(readFileSync(theirs)));
    const db = new Database(ours);
    assert.equal(db.pragma('integrity_check'), [{ integrity_check: 'ok' }]);
    assert.is(db.prepare('select count(*) from t').pluck().get(), 300);
    db.close();

    const store = openStore(written.url).database('');
    const verified = await verifyBackup({ store });
    assert.equal(verified.problems, []);
    assert.is(verified.txid, result.txid);
    assert.is(verified.unnamedFiles, verified.files, 'and so they were compared with each other');
    const [first] = await store.listAll();
    const path = join(bench.folder, 'store', 'ltx', String(first!.level), formatFileName(first!));
    truncateSync(path, 200);
    assert.is((await verifyBackup({ store })).problems[0]?.code, 'VERIFY_CORRUPT');
  }));

test.run();
