import { connect } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { formatListen, type HttpConfig } from '../../src/config/index.js';
import { SluiceError } from '../../src/errors.js';
import { type HttpServer, Metrics, startHttp } from '../../src/http/index.js';
import type { BackupRun, NodeStatus } from '../../src/status.js';
import { PRIMARY } from './status-fixture.js';

const servers: HttpServer[] = [];
const LIMIT_MS = 5000;

async function start(
  status: () => NodeStatus | undefined,
  config: Partial<HttpConfig> = {},
  backUp: () => Promise<readonly BackupRun[] | undefined> = async () => undefined,
): Promise<string> {
  const server = await startHttp({
    config: { listen: { host: '127.0.0.1', port: 0 }, token: null, healthLagMs: 1000, ...config },
    metrics: new Metrics(),
    state: status,
    status: async () => status(),
    backUp,
    log: { error: () => undefined },
  });
  servers.push(server);
  return `http://${formatListen(server.address!)}`;
}

function get(url: string, init: RequestInit = {}): Promise<Response> {
  return fetch(url, { ...init, signal: AbortSignal.timeout(LIMIT_MS) });
}

const test = suite('http/server');

test('/status is the state as JSON', async () => {
  const response = await get(`${await start(() => PRIMARY)}/status?x=1`);
  assert.is(response.status, 200);
  assert.is(response.headers.get('content-type'), 'application/json; charset=utf-8');
  assert.equal(await response.json(), PRIMARY);
});

test('before there is a node: 503 for status and health, metrics are there', async () => {
  const url = await start(() => undefined);
  const status = await get(`${url}/status`);
  assert.is(status.status, 503);
  assert.equal(await status.json(), { error: 'starting' });
  const health = await get(`${url}/health`);
  assert.is(health.status, 503);
  assert.equal(await health.json(), { status: 'unfit', reason: 'starting' });
  assert.is((await get(`${url}/metrics`)).status, 200);
});

test('POST /backup stores what is not stored yet; a GET does nothing', async () => {
  let asked = 0;
  const run: BackupRun = { url: 'file:///b', lastUploadAt: null, lastError: null, databases: [], complete: true };
  const url = await start(
    () => PRIMARY,
    {},
    async () => {
      asked++;
      return [run];
    },
  );
  const read = await get(`${url}/backup`);
  assert.is(read.status, 405);
  assert.is(read.headers.get('allow'), 'POST');
  assert.is(asked, 0);
  const answer = await get(`${url}/backup`, { method: 'POST' });
  assert.is(answer.status, 200);
  assert.equal(await answer.json(), { stores: [run] });
  assert.is(asked, 1);
});

test('POST /backup where there is nothing to do it with', async () => {
  const none = await start(() => PRIMARY);
  assert.is((await get(`${none}/backup`, { method: 'POST' })).status, 503);
  const refused = await start(
    () => PRIMARY,
    {},
    () => Promise.reject(new SluiceError('BACKUP_NONE', 'no store')),
  );
  const answer = await get(`${refused}/backup`, { method: 'POST' });
  assert.is(answer.status, 409);
  assert.equal(await answer.json(), { error: 'no store' });
});

test('/health is 200 when fit', async () => {
  const response = await get(`${await start(() => PRIMARY)}/health`);
  assert.is(response.status, 200);
  assert.equal(await response.json(), { status: 'ok' });
});

test('/metrics is a page for Prometheus', async () => {
  const response = await get(`${await start(() => PRIMARY)}/metrics`);
  assert.match(response.headers.get('content-type') ?? '', /^text\/plain/);
  assert.match(await response.text(), /^sluice_ready 1$/m);
});

test('/health and /metrics, which are asked for often, do not look at the disk', async () => {
  const server = await startHttp({
    config: { listen: { host: '127.0.0.1', port: 0 }, token: null, healthLagMs: 1000 },
    metrics: new Metrics(),
    state: () => PRIMARY,
    status: () => Promise.reject(new Error('the disk was looked at')),
    backUp: async () => undefined,
    log: { error: () => undefined },
  });
  servers.push(server);
  const url = `http://${formatListen(server.address!)}`;
  assert.is((await get(`${url}/health`)).status, 200);
  assert.is((await get(`${url}/metrics`)).status, 200);
  assert.is((await get(`${url}/status`)).status, 500);
});

test('other paths are 404, other methods 405, HEAD has no body', async () => {
  const url = await start(() => PRIMARY);
  for (const path of ['/', '/statusx', '/constructor', '/status/'])
    assert.is((await get(url + path)).status, 404, path);
  const post = await get(`${url}/status`, { method: 'POST', body: 'x' });
  assert.is(post.status, 405);
  assert.is(post.headers.get('allow'), 'GET, HEAD');
  const head = await get(`${url}/status`, { method: 'HEAD' });
  assert.is(head.status, 200);
  assert.is(await head.text(), '');
});

test('with a token nothing is answered without it', async () => {
  const url = await start(() => PRIMARY, { token: 's3cret' });
  for (const path of ['/status', '/health', '/metrics', '/nothing']) {
    const refused = await get(url + path);
    assert.is(refused.status, 401, path);
    assert.is(refused.headers.get('www-authenticate'), 'Bearer');
  }
  for (const header of ['s3cret', 'Bearer', 'Bearer s3cre', 'Bearer s3cret2', 'Basic s3cret', 'Bearer s3cret s3cret']) {
    assert.is((await get(`${url}/status`, { headers: { authorization: header } })).status, 401, header);
  }
  assert.is((await get(`${url}/status`, { headers: { authorization: 'Bearer s3cret' } })).status, 200);
  assert.is((await get(`${url}/status`, { headers: { authorization: 'bearer  s3cret' } })).status, 200);
});

test('a state that cannot be had is a 500, and the server goes on', async () => {
  let broken = true;
  const url = await start(() => {
    if (broken) throw new Error('secret detail');
    return PRIMARY;
  });
  const response = await get(`${url}/status`);
  assert.is(response.status, 500);
  assert.equal(await response.json(), { error: 'internal error' });
  broken = false;
  assert.is((await get(`${url}/status`)).status, 200);
});

test('garbage and endless headers end their own connection only', async () => {
  const url = await start(() => PRIMARY);
  for (const bytes of ['\0\0\0\n\n', `GET / HTTP/1.1\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`]) {
    const answer = await new Promise<string>((resolve) => {
      let text = '';
      const socket = connect(Number(new URL(url).port), '127.0.0.1', () => socket.write(bytes));
      socket.setEncoding('utf8').on('data', (chunk) => {
        text += chunk;
      });
      socket.on('error', () => undefined).on('close', () => resolve(text));
      socket.setTimeout(LIMIT_MS, () => socket.destroy());
    });
    assert.match(answer, /^HTTP\/1.1 4\d\d /);
  }
  assert.is((await get(`${url}/health`)).status, 200);
});

test('a port that is taken is an error that says what to do', async () => {
  const port = Number(new URL(await start(() => PRIMARY)).port);
  try {
    await start(() => PRIMARY, { listen: { host: '127.0.0.1', port } });
    assert.unreachable();
  } catch (error) {
    assert.ok(error instanceof Error);
    assert.is((error as Error).message, `cannot listen on 127.0.0.1:${port} (EADDRINUSE)`);
  }
});

test('off is no server; closing twice is fine; IPv6 works', async () => {
  const off = await startHttp({
    config: { listen: null, token: null, healthLagMs: 1 },
    metrics: new Metrics(),
    state: () => PRIMARY,
    status: async () => PRIMARY,
    backUp: async () => undefined,
    log: { error: () => undefined },
  });
  assert.is(off.address, null);
  await off.close();
  const url = await start(() => PRIMARY, { listen: { host: '::1', port: 0 } });
  assert.is((await get(`${url}/health`)).status, 200);
  await servers.at(-1)!.close();
  await servers.at(-1)!.close();
});

test.after(async () => {
  for (const server of servers) await server.close();
});
test.run();
