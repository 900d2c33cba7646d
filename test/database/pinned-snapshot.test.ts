import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { PinFlags } from '../../src/database/pin-flags.js';
import { PinnedSnapshot } from '../../src/database/pinned-snapshot.js';
import type { SluiceError } from '../../src/errors.js';

const test = suite('PinnedSnapshot');

test('a WAL of another page size, as of a database that was copied over this one, is not read', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-pinned-'));
  const path = join(folder, 'a.db');
  const db = new Sqlite(path);
  try {
    db.pragma('page_size = 2048');
    db.pragma('journal_mode = wal');
    db.exec('CREATE TABLE t (p)');
    const snapshot = new PinnedSnapshot(
      {
        name: 'a.db',
        databasePath: path,
        walPath: `${path}-wal`,
        savedPath: join(folder, 'saved'),
        flags: new PinFlags({ pages: 4 }),
        frames: 1,
        position: { txid: 1, checksum: 1n << 63n },
        pageSize: 1024,
        pageCount: 4,
        timestampMs: 0,
        nodeId: 0n,
        onMismatch: () => undefined,
      },
      () => undefined,
    );
    const failure = await snapshot
      .chunks()
      .next()
      .catch((error: unknown) => error);
    assert.is((failure as SluiceError).code, 'SNAPSHOT_FAILED', String(failure));
    snapshot.close();
  } finally {
    db.close();
    rmSync(folder, { recursive: true, force: true });
  }
});

test.run();
