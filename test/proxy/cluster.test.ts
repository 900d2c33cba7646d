import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { Agent, type IncomingMessage, request as requestHttp } from 'node:http';
import { text } from 'node:stream/consumers';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { stopAll, waitFor } from '../support/cluster.js';
import { type ProxiedNode, startProxied, stopApplications } from './support/proxied-node.js';

// Time limit: 10 min

const ROUNDS = 500;
const BIG_BYTES = 400 * 2 ** 20;
/** A proxy by itself has some 90 MB. */
const MEMORY_LIMIT_BYTES = 250 * 2 ** 20;
const test = suite('proxy/cluster');
let primary: ProxiedNode;
let replica: ProxiedNode;

test.before(async () => {
  primary = await startProxied(undefined);
  await fetch(`${primary.target}/set?k=first&v=1`, { method: 'POST' });
  // So long that a read which waits in vain would be seen.
  replica = await startProxied(primary.node, { waitLimit: '20s', primaryWait: '1s', alwaysForward: ['/api/*'] });
  await healthy(replica);
});

test.after(async () => {
  stopApplications();
  await stopAll();
});

function healthy(one: ProxiedNode): Promise<void> {
  const isHealthy = async () => (await fetch(`${one.url}/.sluice/health`).catch(() => undefined))?.ok === true;
  return waitFor(isHealthy, 30_000, () => one.node.log.slice(-4000));
}

/** The cookie of an answer, as a client sends it. */
function cookieOf(answer: Response): string | undefined {
  return answer.headers.getSetCookie()[0]?.split(';')[0];
}

async function write(one: ProxiedNode, value: string, headers: Record<string, string> = {}): Promise<string> {
  const answer = await fetch(`${one.url}/set?k=a&v=${value}`, { method: 'POST', headers });
  assert.is(await answer.text(), 'done', one.node.log.slice(-2000));
  assert.is(answer.headers.get('x-node'), 'primary');
  return cookieOf(answer)!;
}

async function read(one: ProxiedNode, headers: Record<string, string>): Promise<[node: string | null, value: string]> {
  const answer = await fetch(`${one.url}/get?k=a`, { headers });
  return [answer.headers.get('x-node'), await answer.text()];
}

/** Processes of a keeper's proxy. */
function proxiesOf(one: ProxiedNode): number[] {
  const pids = readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 0);
  return pids.filter((pid) => {
    try {
      const parent = Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
      return parent === one.node.keeperPid() && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('proxy-main');
    } catch {
      return false;
    }
  });
}

test('who writes on a replica reads it there at once', async () => {
  for (let i = 0; i < ROUNDS; i++) {
    const cookie = await write(replica, String(i));
    assert.equal(await read(replica, { cookie }), ['replica', String(i)]);
  }
});

test('many at once, each its own, by the header too', async () => {
  await Promise.all(
    Array.from({ length: 16 }, async (_, client) => {
      for (let i = 0; i < 30; i++) {
        const value = `${client}-${i}`;
        const written = await fetch(`${replica.url}/set?k=c${client}&v=${value}`, { method: 'POST' });
        const position = written.headers.get('sluice-position')!;
        await written.text();
        const answer = await fetch(`${replica.url}/get?k=c${client}`, { headers: { 'sluice-position': position } });
        assert.is(await answer.text(), value);
        assert.is(answer.headers.get('x-node'), 'replica');
      }
    }),
  );
});

test('a request that writes nothing gets no cookie', async () => {
  const answer = await fetch(`${replica.url}/idle-post`, { method: 'POST' });
  assert.is(await answer.text(), 'nothing');
  assert.is(cookieOf(answer), undefined);
});

test('a large body passes both proxies, and neither keeps it', async () => {
  const chunk = Buffer.alloc(2 ** 16, 'xyz');
  const hash = createHash('sha256');
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    const headers = { trailer: 'x-last' };
    const request = requestHttp(`${replica.url}/sum`, { method: 'POST', headers }, resolve).on('error', reject);
    let sent = 0;
    const more = () => {
      while (sent < BIG_BYTES) {
        sent += chunk.length;
        hash.update(chunk);
        if (request.write(chunk)) continue;
        request.once('drain', more);
        return;
      }
      request.addTrailers({ 'x-last': 'word' });
      request.end();
    };
    more();
  });
  assert.is(await text(answer), `${BIG_BYTES} ${hash.digest('hex')} {"x-last":"word"}`);
  for (const pid of [...proxiesOf(primary), ...proxiesOf(replica)]) {
    const kilobytes = Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
    assert.ok(kilobytes * 1024 < MEMORY_LIMIT_BYTES, `${kilobytes} kB`);
  }
});

test('a node dies and is upgraded: its clients keep their connections', async () => {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const ports = new Set<number | undefined>();
  const get = () =>
    new Promise<string>((resolve, reject) => {
      requestHttp(`${replica.url}/get?k=first`, { agent }, (answer) => {
        ports.add(answer.socket.localPort);
        text(answer).then(resolve, reject);
      })
        .on('error', reject)
        .end();
    });
  assert.is(await get(), '1');
  await replica.node.killNode();
  assert.is(await get(), '1');
  assert.is((await replica.node.upgrade()).state, 'done', replica.node.log.slice(-2000));
  assert.is(await get(), '1');
  assert.is(ports.size, 1);
  agent.destroy();
  await healthy(replica);
  const cookie = await write(replica, 'after');
  assert.equal(await read(replica, { cookie }), ['replica', 'after']);
});

test('the primary’s node dies under writes: they wait, and each that was answered is there', async () => {
  const before = await write(replica, 'before');
  const killed = primary.node.killNode();
  const cookie = await write(replica, 'during');
  await killed;
  // Where it was not known in time what the write led to, the primary is asked.
  const [, value] = await read(replica, { cookie });
  assert.is(value, 'during');
  // Of the run that has ended.
  const [node, older] = await read(replica, { cookie: before });
  assert.is(node, 'replica');
  assert.ok(['before', 'during'].includes(older), older);
});

test('a proxy that dies is started again', async () => {
  const [pid = 0] = proxiesOf(replica);
  process.kill(pid, 'SIGKILL');
  await waitFor(() => proxiesOf(replica).some((other) => other !== pid));
  await healthy(replica);
  assert.equal(await read(replica, { cookie: await write(replica, 'again') }), ['replica', 'again']);
});

test('without a primary writes get 503 after a while, reads go on; and it is found again', async () => {
  const cookie = await write(replica, 'kept');
  assert.equal(await read(replica, { cookie }), ['replica', 'kept']);
  primary.application.removeAllListeners('exit');
  primary.application.kill('SIGKILL');
  assert.is(await primary.node.stop(), 0, primary.node.log.slice(-3000));
  assert.equal(proxiesOf(primary), []);
  const answer = await fetch(`${replica.url}/set?k=a&v=lost`, { method: 'POST', body: 'x'.repeat(100_000) });
  assert.is(answer.status, 503);
  assert.is(answer.headers.get('retry-after'), '1');
  assert.equal(await read(replica, {}), ['replica', 'kept']);
  await primary.node.start();
  await primary.restart();
  await healthy(replica);
  // The cookie is of a lineage that has ended: whoever has it is served at once.
  assert.equal(await read(replica, { cookie }), ['replica', 'kept']);
  const next = await write(replica, 'found', { cookie });
  assert.equal(await read(replica, { cookie: next }), ['replica', 'found']);
});

test('what the proxy did is in the metrics of its node', async () => {
  const page = async () => (await fetch(`${replica.node.httpUrl}/metrics`)).text();
  await waitFor(
    async () => /^sluice_proxy_requests_total\{outcome="forwarded"\} [1-9]/m.test(await page()),
    10_000,
    page.toString(),
  );
});

test('a clean stop ends the proxy with what is under way', async () => {
  assert.is(await replica.node.stop(), 0, replica.node.log.slice(-3000));
  assert.equal(proxiesOf(replica), []);
  assert.match(replica.node.log, /the proxy stopped/);
});

test.run();
