import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { testSeed } from '../database/support/random.js';
import { cleanUp, freshFolder } from '../support/cluster.js';
import { canHaveNetworks, inOwnNetwork } from '../support/network.js';
import { runProgram } from '../support/run-program.js';
import { Client } from './linear/clients.js';
import { makeDatabase } from './linear/database.js';
import { complaints, hasJudge, judgeLinear } from './linear/linearizable.js';
import type { Operation } from './linear/operations.js';
import { judgeSessions } from './linear/sessions.js';

/** The short form of `npm run soak -- linear`, and whether its clients and judges find what is wrong. */

const PROGRAM = fileURLToPath(new URL('./linear/index.js', import.meta.url));
const LIMIT_MS = 240_000;
const ROUNDS = 2;
const ROUND_S = 8;
/** Of clients on ext4. */
const CLIENT_MS = 1500;
const FINISH_LIMIT_MS = 60_000;

const test = suite('what applications write on three nodes is linearizable');
test.after(cleanUp);

if (hasJudge()) {
  test('with lines that are cut, and nodes and clients that are stopped and killed', async () => {
    const options = ['--rounds', `${ROUNDS}`, '--seconds', `${ROUND_S}`, '--seed', `${testSeed()}`];
    const inNetwork = canHaveNetworks();
    const campaign = [process.execPath, PROGRAM, ...options, ...(inNetwork ? [] : ['--loopback'])];
    // No process between: the limit ends the campaign itself.
    const [program = '', ...args] = inNetwork ? inOwnNetwork(campaign) : campaign;
    const { code, stdout, stderr } = await runProgram(program, args, '/', {}, {}, LIMIT_MS);
    assert.is(code, 0, stdout + stderr);
    assert.match(
      stdout,
      new RegExp(`\\n${ROUNDS} rounds, \\d+ operations, .*: linearizable, and no read went back\\n$`),
    );
  });

  test('clients of one file: nothing is wrong', async () => {
    const path = join(freshFolder('linear'), 'one.db');
    makeDatabase(path, 'wal');
    const history = await work([path, path, path]);
    assert.ok(history.some(({ kind, wrote }) => kind === 'ok' && wrote));
    assert.equal(judge(history), []);
  });

  test('clients of two files that they take for one: it is found', async () => {
    const folder = freshFolder('linear');
    const paths = ['one.db', 'two.db'].map((name) => join(folder, name)) as [string, string];
    makeDatabase(paths[0], 'delete');
    copyFileSync(...paths);
    const found = judge(await work(paths)).join('\n');
    assert.match(found, /^register/m);
    assert.match(found, /^bank/m);
    assert.match(found, /^lost update/m);
  });
} else {
  console.log('SKIP linearizability: its judge is not installed (node scripts/tools.mjs)');
}

/** Clients that write, one on each path. */
async function work(paths: readonly string[]): Promise<Operation[]> {
  const folder = freshFolder('linear');
  const clients = paths.map(
    (path, client) =>
      new Client({
        client,
        node: 'primary',
        path,
        writes: true,
        seed: client,
        millis: CLIENT_MS,
        busyMs: 1000,
        history: join(folder, `${client}.jsonl`),
      }),
  );
  for (const client of clients) {
    await client.finish(FINISH_LIMIT_MS);
    assert.is(client.failure, undefined);
  }
  return clients.flatMap(({ history }) => history);
}

function judge(history: readonly Operation[]): string[] {
  const folder = freshFolder('linear');
  const verdicts = (['register', 'bank'] as const).map((model) => judgeLinear(model, history, folder));
  return [...verdicts.flatMap(complaints), ...judgeSessions(history)];
}

test.run();
