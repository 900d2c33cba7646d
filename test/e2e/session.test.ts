import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { cleanUp, contentChecksum, startPrimary, startReplica, waitUntilSame } from '../support/cluster.js';
import { assertIntact } from './equality.js';
import { stopAll } from './nodes.js';
import { run } from './programs.js';

/** Many databases in folders, many writers, and a replica that joins in the middle of it. */

const WRITER = fileURLToPath(new URL('./session-writer.js', import.meta.url));
const DATABASES = 20;
const WRITERS = 4;
const SECONDS = 10;
const LIMIT_MS = 90_000;

test('twenty databases, four writers, a replica that joins late', async () => {
  const primary = await startPrimary();
  const early = await startReplica(primary);
  const names = Array.from({ length: DATABASES }, (_, i) =>
    join(`tenant ${i % 5}`, i % 2 === 0 ? '' : 'more', `${i}.db`),
  );
  for (let i = 0; i < 5; i++) mkdirSync(primary.path(join(`tenant ${i}`, 'more')), { recursive: true });
  const paths = names.map((name) => primary.path(name));
  const writing = Array.from({ length: WRITERS }, (_, i) =>
    run(process.execPath, [WRITER, `${i + 1}`, `${SECONDS}`, ...paths], { limitMs: LIMIT_MS }),
  );
  await Promise.race([sleep((SECONDS * 1000) / 2), Promise.all(writing)]);
  const late = await startReplica(primary);
  const transactions = (await Promise.all(writing)).map(Number);
  assert.ok(
    transactions.every((count) => count > 0),
    `transactions of each: ${transactions}`,
  );
  for (const replica of [early, late]) {
    for (const name of names) await waitUntilSame(primary, replica, name, LIMIT_MS);
  }
  const { databases } = await primary.status();
  assert.equal(databases.map(({ name }) => name).sort(), [...names].sort());
  for (const path of paths) assertIntact(path);
  const checksums = new Map(databases.map(({ name, checksum }) => [name, checksum]));
  await stopAll(late, early, primary);
  for (const node of [primary, early, late]) {
    for (const name of names)
      assert.is(contentChecksum(node.backing(name)), checksums.get(name), `${name} in ${node.data}`);
  }
});

test.after(cleanUp);
test.run();
