import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { testSeed } from '../database/support/random.js';
import { Campaign } from '../soak/linear/campaign.js';
import { hasJudge } from '../soak/linear/linearizable.js';
import { NODES, WRITERS } from '../soak/linear/roles.js';
import { freshFolder } from '../support/cluster.js';

/**
 * Applications write on three nodes of this machine, while nodes and applications are stopped (to the others a node that is
 * stopped is one that is cut off) and killed. With lines that are cut: `npm run soak -- linear`.
 */

// Time limit: 10 min

const ROUNDS = 2;
const ROUND_S = 15;

const test = suite('what applications write on three nodes of one machine is linearizable');

if (hasJudge()) {
  test('nodes and applications are stopped and killed', async () => {
    const lines: string[] = [];
    const results = await new Campaign({
      rounds: ROUNDS,
      seconds: ROUND_S,
      seed: testSeed(),
      writers: WRITERS,
      clientsPerNode: 2,
      faults: true,
      mode: 'wal',
      keep: freshFolder('linear-history'),
      report: (line) => lines.push(line),
    }).run();
    assert.is(lines.length, ROUNDS);
    for (const node of NODES)
      assert.ok(
        results.some(({ writes }) => (writes.get(node) ?? 0) > 0),
        `somebody wrote on the ${node}`,
      );
  });
} else {
  console.log('SKIP linearizability: its judge is not installed (node scripts/tools.mjs)');
}

test.run();
