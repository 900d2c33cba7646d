import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { healthOf } from '../../src/http/index.js';
import type { NodeStatus, Problem } from '../../src/status.js';
import { PRIMARY, REPLICA } from './status-fixture.js';

function problem(code: string): Problem {
  return { code, subject: 'app.db', message: 'it broke', hint: '', since: PRIMARY.startedAt };
}

function upstream(fields: Partial<NonNullable<NodeStatus['upstream']>>): NodeStatus {
  return { ...REPLICA, databases: [], upstream: { ...REPLICA.upstream!, ...fields } };
}

const LIMIT_MS = 1000;
const CASES: readonly (readonly [string, NodeStatus | undefined, string | undefined])[] = [
  ['a primary', PRIMARY, undefined],
  ['a replica', REPLICA, undefined],
  ['no node yet', undefined, 'starting'],
  ['a primary that is not ready', { ...PRIMARY, ready: false }, 'starting'],
  ['a replica that is not ready', { ...REPLICA, ready: false }, 'catching up with the primary'],
  ['lag at the limit', upstream({ lagMs: 1000 }), undefined],
  ['lag over the limit', upstream({ lagMs: 1000.6 }), 'lag of 1001 ms is over the limit of 1000 ms'],
  [
    'one database behind',
    { ...REPLICA, databases: REPLICA.databases.map((db) => ({ ...db, lagMs: 5000 })) },
    'lag of 5000 ms is over the limit of 1000 ms',
  ],
  ['no lag known, connected', upstream({ lagMs: null }), undefined],
  ['no lag known, not connected', upstream({ lagMs: null, connected: false }), 'no contact with the primary'],
  ['a damaged database', { ...PRIMARY, problems: [problem('DATABASE_DAMAGED')] }, 'app.db: it broke'],
  ['a failing backup', { ...PRIMARY, problems: [problem('BACKUP_FAILING')] }, undefined],
];

const test = suite('http/health');

for (const [name, status, reason] of CASES) {
  test(name, () => {
    const expected = reason === undefined ? { status: 'ok' } : { status: 'unfit', reason };
    assert.equal(healthOf(status, LIMIT_MS), expected);
  });
}

test.run();
