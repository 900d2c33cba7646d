import { closeSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { PageSink } from '../../src/backup/page-sink.js';

const PAGE_BYTES = 4096;

test('pages of zeros are holes, until there is something in their place', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-sink-'));
  const path = join(folder, 'x.db');
  const fd = openSync(path, 'w+');
  try {
    const sink = new PageSink(fd, PAGE_BYTES);
    const full = (pgno: number): Buffer => Buffer.alloc(PAGE_BYTES, pgno & 0xff);
    const zeros = Buffer.alloc(PAGE_BYTES);
    for (let pgno = 1; pgno <= 3000; pgno++) sink.write(pgno, pgno % 1000 === 1 ? full(pgno) : zeros);
    assert.is(sink.pageCount, 3000);
    sink.flush();
    await sink.settle();
    ftruncateSync(fd, 3000 * PAGE_BYTES);
    assert.ok(statSync(path).blocks * 512 <= 16 * PAGE_BYTES, `${statSync(path).blocks} blocks`);
    const page = Buffer.alloc(PAGE_BYTES, 9);
    sink.read(3000, page);
    assert.ok(page.equals(zeros));
    // Over what was there, zeros are written like anything else; also after the database shrank and grew again.
    sink.write(1001, zeros);
    sink.truncate(1500);
    sink.write(2001, zeros);
    sink.flush();
    await sink.release();
    const bytes = readFileSync(path);
    for (let pgno = 1; pgno <= 3000; pgno++) {
      const wanted = pgno === 1 ? full(pgno) : zeros;
      assert.ok(bytes.subarray((pgno - 1) * PAGE_BYTES, pgno * PAGE_BYTES).equals(wanted), `page ${pgno}`);
    }
  } finally {
    closeSync(fd);
    rmSync(folder, { recursive: true });
  }
});

test('what the disk did not take in the middle is known at the end, also when the last fsync would not tell', async () => {
  // It takes all writes, and refuses each fdatasync with EINVAL.
  const fd = openSync('/dev/null', 'r+');
  try {
    const sink = new PageSink(fd, PAGE_BYTES);
    const page = Buffer.alloc(PAGE_BYTES, 1);
    for (let pgno = 1; pgno <= (33 * 1024 * 1024) / PAGE_BYTES; pgno++) sink.write(pgno, page);
    const error = await sink.end().then(
      () => undefined,
      (failure: NodeJS.ErrnoException) => failure.code,
    );
    assert.is(error, 'EINVAL');
  } finally {
    closeSync(fd);
  }
});

test.run();
