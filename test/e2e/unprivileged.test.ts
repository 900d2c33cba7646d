import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { DRIVERS } from '../fuse/support/mounted.js';
import {
  type ClusterNode,
  contentChecksum,
  freshFolder,
  startPrimary,
  startReplica,
  stopAll,
  waitFor,
} from '../support/cluster.js';
import { type Ran, runProgram } from '../support/run-program.js';
import { NOBODY, openDeviceToAll, openWayTo, readableTree } from '../support/unprivileged.js';

// Time limit: 10 min
/**
 * A primary, a replica and their applications as a user who is not root: libfuse is chosen by itself. Nobody else can look
 * into such a mount, not even root, so everything there is done by programs of that user.
 */

const test = suite('without root');
const MODES = ['wal', 'delete', 'truncate', 'persist'] as const;
const ROWS = 6;
const SAME_LIMIT_MS = 60_000;

let primary: ClusterNode;
let replica: ClusterNode;
let store: string;
/** Rows in each database. */
let rows = 0;

const asNobody = (program: string, args: readonly string[]): Promise<Ran> => runProgram(program, args, '/', {}, NOBODY);

const client = (name: string, ...args: string[]): Promise<Ran> =>
  asNobody(process.execPath, [join(readableTree(), 'dist/test/fuse/support', `${name}-client.js`), ...args]);

const databaseOf = (mode: string): string => `sub/${mode}.db`;

/** Two processes write each database at the same time. */
async function writeAll(): Promise<void> {
  for (const mode of MODES) {
    const path = primary.path(databaseOf(mode));
    // One first, so that the mode is set while nobody else has the database open.
    const first = await client('insert', path, mode, 'full', '1');
    assert.is(first.code, 0, first.stderr);
    const writers = await Promise.all([1, 2].map(() => client('insert', path, mode, 'full', String(ROWS))));
    for (const { code, stderr } of writers) assert.is(code, 0, stderr);
  }
  rows += 1 + 2 * ROWS;
}

/** `TXID/checksum` of a database. */
async function positionOf(node: ClusterNode, name: string): Promise<string | undefined> {
  const found = (await node.status()).databases.find((database) => database.name === name);
  return found === undefined ? undefined : `${found.txid}/${found.checksum}`;
}

/** The replica has what the primary has, and what a backup gives is that too. */
async function allTheSame(): Promise<void> {
  for (const mode of MODES) {
    const name = databaseOf(mode);
    const content = contentChecksum(primary.backing(name));
    let seen: (string | undefined)[] = [];
    await waitFor(
      async () => {
        seen = [await positionOf(primary, name), await positionOf(replica, name)];
        return seen[0]?.endsWith(`/${content}`) === true && seen[0] === seen[1];
      },
      SAME_LIMIT_MS,
      () =>
        `${name}: ${seen.join(' and ')} to be those of ${content}\n${primary.log.slice(-2000)}\n${replica.log.slice(-2000)}`,
    );
    assert.is(contentChecksum(replica.backing(name)), content, name);
    for (const node of [primary, replica]) {
      const checked = await client('check', node.path(name));
      assert.is(checked.stdout, `${rows} ${rows - 1} ok\n`, checked.stderr);
    }
    const restored = join(freshFolder('restored'), 'x.db');
    const txid = seen[0]!.split('/')[0]!;
    await waitFor(
      async () => {
        const args = ['restore', '--force', '-o', restored, '--txid', txid, `file://${store}/${name}`];
        return (await runProgram(process.execPath, [sluice(), ...args], '/', {})).code === 0;
      },
      SAME_LIMIT_MS,
      `${name} in the backup at ${txid}`,
    );
    assert.is(contentChecksum(restored), content, `${name}, restored`);
  }
}

const sluice = (): string => join(readableTree(), 'dist/cmd/sluice.js');

/** The line of a node's mount in the mount table. */
const mountLine = (node: ClusterNode): string | undefined =>
  readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .find((line) => line.split(' ')[4] === node.mount);

if (DRIVERS.includes('libfuse')) {
  test.before(async () => {
    openDeviceToAll();
    const dir = freshFolder('primary');
    primary = await startPrimary({ dir, user: NOBODY, backup: join(dir, 'backup') });
    store = join(dir, 'backup');
    replica = await startReplica(primary, { user: NOBODY });
    openWayTo(dir);
    const made = await asNobody('mkdir', [primary.path('sub')]);
    assert.is(made.code, 0, made.stderr);
  });
  test.after(stopAll);

  test('the mounts are of libfuse, and of that user', () => {
    for (const node of [primary, replica]) assert.match(mountLine(node) ?? '', / - fuse sluice .*user_id=65534,/);
  });

  test('each journal mode, several processes: replicated, and backed up', async () => {
    await writeAll();
    await allTheSame();
  });

  test('a virtual file shows the position, and a write on the replica is refused', async () => {
    const name = databaseOf('wal');
    const position = await asNobody('cat', [`${replica.path(name)}-pos`]);
    assert.is(position.stdout.trim(), await positionOf(primary, name));
    const refused = await client('insert', replica.path(name), 'wal', 'full', '1');
    assert.match(refused.stderr, /attempt to write a readonly database/);
    assert.is((await asNobody('rm', ['-f', replica.path(name)])).code, 1);
    assert.is((await asNobody('cp', ['/etc/hostname', replica.path('new')])).code, 1);
  });

  test('the nodes are killed: others mount anew, and nothing is lost', async () => {
    for (const node of [primary, replica]) {
      await node.killNode();
      assert.match(node.log, /the node died \(SIGKILL\); starting another one, and mounting anew/);
    }
    await writeAll();
    await allTheSame();
  });

  test('an upgrade is refused, and the node goes on', async () => {
    const args = [sluice(), 'upgrade', '-c', join(primary.dir, 'sluice.yml')];
    const pid = primary.nodePid();
    const upgrade = await runProgram(process.execPath, args, '/', {}, NOBODY);
    assert.is(upgrade.code, 1);
    assert.match(upgrade.stderr, /libfuse/);
    assert.is(primary.nodePid(), pid);
    assert.ok((await primary.status()).ready);
  });

  test('a stop is clean, and the next start finds all as it was', async () => {
    for (const node of [replica, primary]) {
      assert.is(await node.stop(), 0, node.log.slice(-2000));
      assert.is(mountLine(node), undefined);
    }
    await primary.start();
    await replica.start();
    for (const mode of MODES) assert.is(primary.outcomes(databaseOf(mode)).at(-1), 'clean');
    await writeAll();
    await allTheSame();
  });
}

test.run();
