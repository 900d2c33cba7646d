import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { canHaveNetworks, inOwnNetwork, isInOwnNetwork } from '../../support/network.js';
import { Campaign, MODES } from './campaign.js';
import { hasJudge } from './linearizable.js';
import { NODES, WRITERS } from './roles.js';

/**
 * `npm run soak -- linear [--rounds N] [--seconds S] [--seed S] [--clients N] [--writers primary,…] [--no-faults]
 * [--mode wal|delete|…] [--keep FOLDER] [--loopback]`: in a network of its own, unless `--loopback`, where lines cannot be cut.
 */

const { values } = parseArgs({
  allowNegative: true,
  options: {
    rounds: { type: 'string', default: '20' },
    seconds: { type: 'string', default: '30' },
    seed: { type: 'string', default: `${Date.now() % 1_000_000}` },
    clients: { type: 'string', default: '2' },
    writers: { type: 'string', default: WRITERS.join(',') },
    faults: { type: 'boolean', default: true },
    mode: { type: 'string' },
    keep: { type: 'string' },
    loopback: { type: 'boolean', default: false },
  },
});

if (!hasJudge()) {
  console.log('FAILED: the judge is not installed: run node scripts/tools.mjs');
  process.exit(1);
}
if (!values.loopback && !isInOwnNetwork()) {
  if (!canHaveNetworks()) {
    console.log('FAILED: this user cannot make networks (it takes root, unshare and ip): --loopback does without');
    process.exit(1);
  }
  const own = [process.execPath, fileURLToPath(import.meta.url), ...process.argv.slice(2)];
  const [program = '', ...args] = inOwnNetwork(own);
  process.exit(spawnSync(program, args, { stdio: 'inherit' }).status ?? 1);
}

const writers = values.writers.split(',').map((name) => name.trim());
const unknown = writers.find((name) => !NODES.includes(name));
if (unknown !== undefined) throw new Error(`--writers: there is no ${unknown}, but ${NODES.join(', ')}`);
if (values.mode !== undefined && !MODES.includes(values.mode))
  throw new Error(`--mode: ${[...new Set(MODES)].join(', ')}`);
const [rounds, seconds, seed, clientsPerNode] = [values.rounds, values.seconds, values.seed, values.clients].map(
  Number,
);
console.log(
  `linear: ${rounds} rounds of ${seconds} s, seed ${seed}, ${clientsPerNode} clients on each node, writers: ${writers.join(', ')}`,
);
try {
  const results = await new Campaign({
    rounds: rounds!,
    seconds: seconds!,
    seed: seed!,
    clientsPerNode: clientsPerNode!,
    writers,
    faults: values.faults,
    ...(values.mode === undefined ? {} : { mode: values.mode }),
    keep: values.keep,
    report: console.log,
  }).run();
  const sum = (of: (result: (typeof results)[number]) => number) =>
    results.reduce((total, each) => total + of(each), 0);
  const written = NODES.map((name) => `${name} ${sum(({ writes }) => writes.get(name) ?? 0)}`).join(', ');
  console.log(
    `${rounds} rounds, ${sum(({ operations }) => operations)} operations, writes: ${written}; ${sum((each) => each.unknown)} unknown: linearizable, and no read went back`,
  );
} catch (error) {
  console.log(`FAILED: ${(error as Error).message}`);
  // What comes last counts.
  console.log(`again: npm run soak -- linear --seed ${seed} ${process.argv.slice(2).join(' ')}`.trimEnd());
  process.exitCode = 1;
}
