import * as assert from 'uvu/assert';
import { DataFolder, PrimaryDatabases, SharedState } from '../../src/database/index.js';
import type { Position } from '../../src/ltx/index.js';

/** Where a primary that starts on the folder finds its databases, all of them clean. */
export async function positions(data: string): Promise<Map<string, Position>> {
  const set = new PrimaryDatabases({
    folder: new DataFolder(data),
    shared: new SharedState(),
    mountPath: '/mnt',
    send: () => undefined,
    wakeWorker: () => undefined,
    cache: () => false,
    onWrite: () => undefined,
    onLogged: () => undefined,
    warn: () => undefined,
  });
  const outcomes = await set.recover(false);
  assert.equal(
    outcomes.map(({ outcome }) => outcome),
    outcomes.map(() => 'clean'),
  );
  const found = new Map([...set.all()].map(({ name, position }) => [name, position]));
  await set.close();
  return found;
}
