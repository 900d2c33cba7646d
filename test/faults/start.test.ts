import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, statfsSync, writeFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Bench, exec, isMounted, requireMounts, SLUICE, type TestNode, until, value, withBench } from './bench.js';

requireMounts('start');
const test = suite('what keeps a node from starting');

/** Runs `sluice mount`, which must refuse with exactly this line, leaving no mount and no process. */
async function refused(bench: Bench, node: TestNode, line: string): Promise<void> {
  const ran = await bench.sluice(['mount', '-c', node.config]);
  assert.is(ran.stderr, `sluice: ${line}\n`);
  assert.is(ran.stdout, '');
  assert.is(ran.code, 1);
  await nothingLeft(bench, node);
}

async function nothingLeft(bench: Bench, node: TestNode): Promise<void> {
  assert.not(isMounted(node.mount));
  await until('its processes are gone', () => bench.processes().length === 0, 5000);
}

test('a mount point that cannot be made, is no folder, is not empty, is in use', async () => {
  await withBench(async (bench) => {
    const missing = await bench.node('missing', `mount: ${bench.path('no/such/mnt')}`);
    await refused(
      bench,
      missing,
      `The mount point ${bench.path('no/such/mnt')} cannot be made: ${bench.path('no/such')} does not exist. Make it first: mkdir -p ${bench.path('no/such/mnt')}`,
    );

    writeFileSync(bench.path('file'), 'precious');
    const file = await bench.node('file-node', `mount: ${bench.path('file')}`);
    await refused(
      bench,
      file,
      `The mount point ${bench.path('file')} is not a folder. Choose a folder that is empty or does not exist.`,
    );

    mkdirSync(bench.path('full'));
    writeFileSync(bench.path('full/hidden.txt'), 'precious');
    const full = await bench.node('full-node', `mount: ${bench.path('full')}`);
    await refused(
      bench,
      full,
      `The mount point ${bench.path('full')} is not empty. Files in it would be hidden: move them away or choose another folder.`,
    );
    assert.equal(readdirSync(bench.path('full')), ['hidden.txt']);

    const busy = bench.smallDisk('busy', 1);
    const onIt = await bench.node('busy-node', `mount: ${busy}`);
    await refused(
      bench,
      onIt,
      `${busy} is a mount point already (tmpfs sluice-test). Unmount it (umount ${busy}) or choose another folder.`,
    );
    assert.ok(isMounted(busy));
  });
});

test('the mount of another node', async () => {
  await withBench(async (bench) => {
    const first = await bench.primary('first');
    const second = await bench.node('second', `mount: ${first.mount}`);
    const ran = await bench.sluice(['mount', '-c', second.config]);
    assert.is(
      ran.stderr,
      `sluice: ${first.mount} is a mount point already (fuse sluice). Unmount it (umount ${first.mount}) or choose another folder.\n`,
    );
    assert.is(ran.code, 1);
    writeFileSync(first.path('note'), 'still served');
    assert.is(await first.stop(), 0);
  });
});

test('a data folder in use by another node', async () => {
  await withBench(async (bench) => {
    const first = await bench.primary('first');
    const second = await bench.node('second', `mount: ${bench.path('other-mnt')}`, first.data);
    const ran = await bench.sluice(['mount', '-c', second.config]);
    assert.is(
      ran.stderr,
      `sluice: data folder in use by another node (pid ${first.nodePid()}): ${first.data}. Stop that node, or give this one its own data folder\n`,
    );
    assert.is(ran.code, 1);
    assert.not(isMounted(bench.path('other-mnt')));
    writeFileSync(first.path('note'), 'still served');
    assert.is(await first.stop(), 0);
  });
});

test('a data folder of a newer version, and one that cannot be used', async () => {
  await withBench(async (bench) => {
    const node = await bench.node('newer');
    mkdirSync(node.data);
    writeFileSync(`${node.data}/node.json`, '{"format":2,"nodeId":"0011223344556677"}\n');
    await refused(
      bench,
      node,
      `the data folder ${node.data} has format 2, this version of Sluice knows 1. Use the version of Sluice that wrote it, or another data folder`,
    );

    writeFileSync(`${node.data}/node.json`, '{"for');
    await refused(
      bench,
      node,
      `${node.data}/node.json is damaged. It only says {"format":1,"nodeId":"16 hex digits"}: write that, with digits of your own if they are lost`,
    );

    writeFileSync(bench.path('plain'), '');
    const under = await bench.node('under', `mount: ${bench.path('m')}`, bench.path('plain/data'));
    await refused(
      bench,
      under,
      `cannot use data folder ${bench.path('plain/data')}: ENOTDIR: not a directory, mkdir '${bench.path('plain/data')}'. Check the path and its permissions`,
    );
  });
});

test('an HTTP or replication port that is in use', async () => {
  await withBench(async (bench) => {
    const first = await bench.primary('first');
    const second = await bench.node('second', `http: {listen: "127.0.0.1:${first.httpPort}"}`);
    const ran = await bench.sluice(['mount', '-c', second.config]);
    assert.is(
      ran.stderr,
      `sluice: cannot listen on 127.0.0.1:${first.httpPort} (EADDRINUSE). Another program has that port: set http.listen to another one, or to off\n`,
    );
    assert.is(ran.code, 1);
    assert.not(isMounted(second.mount));

    const third = await bench.node('third', `replication: {listen: "127.0.0.1:${first.port}"}`);
    const end = await third.launch();
    assert.is(end, 1);
    assert.match(third.stderr, `cannot listen for replicas on 127.0.0.1:${first.port}`);
    assert.match(third.stderr, 'Another program uses this port: choose another in replication.listen');
    assert.not(isMounted(third.mount));
  });
});

test('no /dev/fuse', async () => {
  await withBench(async (bench) => {
    const node = await bench.node('node');
    // In a mount namespace of its own /dev is an empty folder, with what a program needs.
    const script = `mkdir -p ${bench.path('dev')} && mount -t tmpfs none ${bench.path('dev')} && for d in null zero random urandom; do touch ${bench.path('dev')}/$d && mount --bind /dev/$d ${bench.path('dev')}/$d; done && mount --rbind ${bench.path('dev')} /dev && exec "$0" "$@"`;
    const ran = await bench.run('unshare', [
      '-m',
      'sh',
      '-c',
      script,
      process.execPath,
      SLUICE,
      'mount',
      '-c',
      node.config,
    ]);
    assert.is(
      ran.stderr,
      'sluice: /dev/fuse is not there (ENOENT). Load the kernel module (modprobe fuse); in a container, start it with --device /dev/fuse --cap-add SYS_ADMIN.\n',
    );
    assert.is(ran.code, 1);
    await nothingLeft(bench, node);
  });
});

test('not root', async () => {
  await withBench(async (bench) => {
    // `nobody` may reach neither the test's own folders nor, perhaps, the program.
    for (let folder = bench.folder; /^(sluice|start)-/.test(basename(folder)); folder = dirname(folder)) {
      chmodSync(folder, 0o755);
    }
    chmodSync(bench.folder, 0o777);
    const node = await bench.node('node');
    const program = bench.path('program');
    mkdirSync(program);
    const ran = await bench.run('unshare', [
      '-m',
      'sh',
      '-c',
      `mount --bind "$1" ${program} && shift && exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"`,
      'sh',
      dirname(dirname(dirname(SLUICE))),
      ...[process.execPath, `${program}/dist/cmd/sluice.js`, 'mount', '-c', node.config],
    ]);
    assert.is(ran.code, 1);
    assert.is(ran.stderr.split('\n').length, 2);
    assert.match(ran.stderr, /Run as root/);
    await nothingLeft(bench, node);
  });
});

test('kill -9 of the keeper: its node unmounts and ends; the next start goes on with the data', async () => {
  await withBench(async (bench) => {
    const node = await bench.primary();
    exec(node.path('a.db'), 'PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES (1)');
    const before = node.position('a.db');
    node.signal('SIGKILL');
    await until('the node left', () => !isMounted(node.mount) && bench.processes().length === 0);
    await node.start();
    assert.is(node.position('a.db'), before);
    assert.is(value(node.path('a.db'), 'SELECT count(*) FROM t'), 1);
    exec(node.path('a.db'), 'INSERT INTO t VALUES (2)');
    assert.equal(await node.problems(), []);
    assert.is(await node.stop(), 0);
  });
});

test('kill -9 of keeper and node at once leaves a dead mount, which the next start removes', async () => {
  await withBench(async (bench) => {
    const node = await bench.primary();
    exec(node.path('a.db'), 'CREATE TABLE t(x); INSERT INTO t VALUES (1)');
    const before = node.position('a.db');
    const nodePid = node.nodePid();
    process.kill(node.keeperPid, 'SIGSTOP');
    process.kill(nodePid, 'SIGKILL');
    process.kill(node.keeperPid, 'SIGKILL');
    assert.is(await node.hasEnded(), 'SIGKILL');
    assert.ok(isMounted(node.mount));
    await until('the node is gone', () => !existsSync(`/proc/${nodePid}`));
    assert.throws(() => statfsSync(node.mount), /ENOTCONN/);
    await node.start();
    assert.match(node.stderr, `removed a stale mount at ${node.mount}`);
    assert.is(node.position('a.db'), before);
    assert.is(value(node.path('a.db'), 'SELECT count(*) FROM t'), 1);
    assert.is(await node.stop(), 0);
  });
});

test('stopping while an application has a file open: it is named, waited for, and then let go of', async () => {
  await withBench(async (bench) => {
    const node = await bench.primary();
    writeFileSync(node.path('note'), 'text');
    const holder = spawn('tail', ['-f', node.path('note')], { stdio: 'ignore', cwd: '/' });
    bench.onEnd(() => holder.kill('SIGKILL'));
    await until('the file is open', () => existsSync(`/proc/${holder.pid}/fd/3`));
    node.signal('SIGTERM');
    const said = `${node.mount} is in use by tail (pid ${holder.pid}); waiting 10 s for it to end. Ctrl-C takes the mount away now`;
    await until('it says who', () => node.stderr.includes(said));
    assert.ok(isMounted(node.mount));
    // Within half a second after the first one a signal counts as the same.
    await sleep(600);
    node.signal('SIGTERM');
    assert.is(await node.hasEnded(), 0, node.stderr);
    assert.not(isMounted(node.mount));
    await until('its processes are gone', () => bench.processes().length === 0, 5000);
  });
});

test.run();
