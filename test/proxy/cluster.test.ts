import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { stopAll, waitFor } from '../support/cluster.js';
import { type ProxiedNode, startProxied, stopApplications } from './support/proxied-node.js';

// Time limit: 10 min

const ROUNDS = 300;
const test = suite('proxy/cluster');
let primary: ProxiedNode;
let replica: ProxiedNode;

test.before(async () => {
  primary = await startProxied(undefined);
  await fetch(`${primary.target}/set?k=first&v=1`, { method: 'POST' });
  replica = await startProxied(primary.node, { waitLimit: '10s' });
  await waitFor(
    async () => (await fetch(`${replica.url}/.sluice/health`)).ok,
    20_000,
    () => replica.node.log.slice(-3000),
  );
});

test.after(async () => {
  stopApplications();
  await stopAll();
});

/** The cookie of an answer, as a client sends it. */
function cookieOf(answer: Response): string | undefined {
  return answer.headers.getSetCookie()[0]?.split(';')[0];
}

test('who writes on a replica reads it there at once', async () => {
  for (let i = 0; i < ROUNDS; i++) {
    const written = await fetch(`${replica.url}/set?k=a&v=${i}`, { method: 'POST' });
    assert.is(written.headers.get('x-node'), 'primary');
    const cookie = cookieOf(written)!;
    assert.is(await written.text(), 'done');
    const read = await fetch(`${replica.url}/get?k=a`, { headers: { cookie } });
    assert.is(read.headers.get('x-node'), 'replica');
    assert.is(await read.text(), String(i));
  }
});

test.run();
