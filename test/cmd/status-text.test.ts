import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { formatStatus } from '../../cmd/status-text.js';
import type { DurabilityStatus, NodeStatus } from '../../src/status.js';
import { PRIMARY, REPLICA } from '../http/status-fixture.js';

const test = suite('the text of sluice status');

const SINCE = '2026-01-02T03:05:05.000Z';
const NOW_MS = Date.parse(SINCE);

const text = (status: NodeStatus) => formatStatus(status, NOW_MS);

/** What is said of the commits of each database. */
function commits(...changes: (Partial<DurabilityStatus> | undefined)[]): string[] {
  const [db] = PRIMARY.databases;
  const durability = { ...db!.durability!, degraded: 0 };
  const databases = changes.map((change) => ({ ...db!, durability: change ? { ...durability, ...change } : null }));
  const [head, ...rows] = text({ ...PRIMARY, databases })
    .split('\n\n')[1]!
    .split('\n');
  const from = head!.indexOf('COMMITS WAIT FOR');
  assert.ok(from > 0, head);
  return rows.map((row) => row.slice(from).trim());
}

test('what commits wait for, and what comes of it', () => {
  assert.equal(commits({}), ['1 replica']);
  assert.equal(commits({ replicas: 2, waitingMs: 3000 }), ['2 replicas; one for 3 s']);
  assert.equal(commits({ until: 'backup', replicas: 0 }), ['the backup']);
  assert.equal(commits({ degradedSince: SINCE, degraded: 30 }), [
    '1 replica; degraded, they do not wait now; 30 returned without',
  ]);
  assert.equal(commits({ refusingSince: SINCE, refused: 2 }), ['1 replica; they fail now; 2 failed']);
  assert.equal(commits({}, { until: 'local' }, undefined), ['1 replica', '-', '-']);
});

test('where no commit waits, on a replica, and of an older node, nothing is said of it', () => {
  const [db] = PRIMARY.databases;
  const local = { ...db!, durability: { ...db!.durability!, until: 'local' as const } };
  const { durability: _, ...older } = db!;
  const nodes = [
    { ...PRIMARY, databases: [local] },
    REPLICA,
    { ...PRIMARY, databases: [older] } as unknown as NodeStatus,
  ];
  for (const status of nodes) {
    const shown = text(status);
    assert.not.match(shown, 'COMMITS');
    assert.match(shown, 'app.db');
  }
});

test.run();
