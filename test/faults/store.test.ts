import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FaultProxy } from '../backup/fault-proxy.js';
import { startGateway } from '../support/gateway.js';
import { exec, requireMounts, until, value, withBench } from './bench.js';

requireMounts('store');
const test = suite('a store in trouble');

const COUNT = 'SELECT count(*) FROM t';

test('500s, no answer, lost connections, lost credentials: commits go on, status shows it, then it is whole', async () => {
  await withBench(async (bench) => {
    const gateway = await startGateway(bench.folder);
    if (gateway === undefined) return;
    bench.onEnd(() => gateway.stop());
    const proxy = new FaultProxy(gateway.endpoint);
    await proxy.start();
    bench.onEnd(() => proxy.stop());
    const { endpoint } = proxy;
    const { accessKeyId, secretAccessKey } = gateway.credentials;
    const primary = await bench.primary(
      'primary',
      `backup: {url: "s3://${gateway.bucket}/app", interval: 100ms, endpoint: "${endpoint}", region: us-east-1, pathStyle: true, accessKeyId: ${accessKeyId}, secretAccessKey: ${secretAccessKey}}`,
    );
    exec(primary.path('a.db'), 'PRAGMA journal_mode=WAL; CREATE TABLE t(x)');
    const backup = async () => (await primary.status()).backups[0]!;
    const caughtUp = async () => {
      const [txid] = primary.position('a.db').split('/');
      return (await backup()).databases.find(({ name }) => name === 'a.db')?.txid === txid;
    };
    await until('the first upload', caughtUp);
    let rows = 0;
    for (const fault of ['error', 'reset', 'denied'] as const) {
      proxy.set(fault);
      for (let i = 0; i < 5; i++, rows++) exec(primary.path('a.db'), 'INSERT INTO t VALUES (randomblob(1000))');
      await until(`status shows ${fault}`, async () => (await backup()).lastError !== null);
      assert.equal(await primary.problems(), ['BACKUP_FAILING a.db']);
      assert.is(value(primary.path('a.db'), COUNT), rows);
      const secret = JSON.stringify(await primary.status());
      assert.not(secret.includes(secretAccessKey));
      proxy.set('pass');
      await until(`it has caught up after ${fault}`, caughtUp, 60_000);
      await until('no problem is shown any more', async () => (await primary.problems()).length === 0);
    }
    // One that never answers: what is being sent waits for its time-out, commits do not.
    proxy.set('hang');
    for (let i = 0; i < 5; i++, rows++) exec(primary.path('a.db'), 'INSERT INTO t VALUES (randomblob(1000))');
    assert.is(value(primary.path('a.db'), COUNT), rows);
    await until('it lags', async () => ((await backup()).databases[0]!.lagMs ?? 0) > 300);
    proxy.set('pass');
    await until('it has caught up after hang', caughtUp, 60_000);

    const restored = bench.path('restored.db');
    const env = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey, AWS_REGION: 'us-east-1' };
    const args = [
      'restore',
      '-o',
      restored,
      '--endpoint',
      gateway.endpoint,
      '--path-style',
      `s3://${gateway.bucket}/app/a.db`,
    ];
    const ran = await bench.sluice(args, env);
    assert.is(ran.code, 0, ran.stderr);
    assert.is(value(restored, COUNT), rows);
    assert.is(value(restored, 'PRAGMA integrity_check'), 'ok');
    assert.not(primary.stderr.includes(secretAccessKey), 'the secret is in no log line');
  });
});

test.run();
