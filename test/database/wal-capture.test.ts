import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Database } from '../../src/database/database.js';
import { FrameBuffer } from '../../src/database/frame-buffer.js';
import { DataFolder, SharedState } from '../../src/database/index.js';
import type { TransactionWriter } from '../../src/database/transaction-writer.js';
import { WalCapture } from '../../src/database/wal-capture.js';
import { linksOf } from '../support/open-files.js';

const test = suite('capture of a WAL');

test('a WAL that is about to go is not held open, nor opened again when there is nothing in it to log', () => {
  const root = mkdtempSync(join(tmpdir(), 'sluice-wal-capture-'));
  const folder = new DataFolder(root);
  const db = new Sqlite(join(folder.files, 'a.db'));
  const shared = new SharedState();
  const database = new Database('a.db', 0, folder, shared, () => Promise.reject(new Error('not asked for')));
  try {
    db.pragma('journal_mode = WAL');
    db.exec('CREATE TABLE t (a)');
    const frames = 2;
    shared.publishWal(0, 1, frames);
    const unused = {} as TransactionWriter;
    const capture = new WalCapture(database, shared, unused, new FrameBuffer(), () => true);
    // SQLite's own descriptor is one of this process too.
    const descriptors = () => linksOf(process.pid).filter((link) => link.endsWith('a.db-wal')).length;
    const sqlites = descriptors();
    assert.ok(capture.at(1) !== undefined);
    capture.skipTo(1, frames);
    assert.is(descriptors(), sqlites + 1);
    capture.release();
    assert.is(descriptors(), sqlites);
    void capture.take(() => Promise.reject(new Error('nothing to read')));
    assert.is(descriptors(), sqlites);
    assert.ok(capture.at(1) !== undefined, 'it did not go: it is there when it is needed');
    assert.is(capture.loggedFrames, frames);
    capture.close();
    assert.is(descriptors(), sqlites);
  } finally {
    db.close();
    database.close();
    rmSync(root, { recursive: true, force: true });
  }
});

test.run();
