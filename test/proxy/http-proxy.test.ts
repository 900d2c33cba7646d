import { createHash } from 'node:crypto';
import { type IncomingHttpHeaders, type IncomingMessage, request as requestHttp } from 'node:http';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeBookmark, encodeBookmark } from '../../src/proxy/bookmark.js';
import { MARK_HEADER, makeMark } from '../../src/proxy/forward-mark.js';
import { waitFor } from '../support/cluster.js';
import { closeAll, KEYS, LINEAGE, ProxyScene, RawClient, serve } from './support/scene.js';

const test = suite('proxy/http-proxy');
test.after.each(closeAll);

interface Seen {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly raw: readonly string[];
}

/** An application that says what it was asked. */
function echo(name: string): Promise<number> {
  return serve((request, response) => {
    const seen: Seen = { method: request.method, url: request.url, headers: request.headers, raw: request.rawHeaders };
    request.resume();
    request.on('end', () => {
      response.writeHead(200, { 'x-node': name, 'set-cookie': ['a=1', 'b=2'] });
      response.end(JSON.stringify(seen));
    });
  });
}

/** A primary and a replica of it, each with a proxy and an application that says which it is. */
async function pair(config: object = {}): Promise<{ primary: ProxyScene; replica: ProxyScene }> {
  const primary = await ProxyScene.start(await echo('primary'), { role: 'primary' }, config);
  const facts = { role: 'replica', primary: primary.url } as const;
  return { primary, replica: await ProxyScene.start(await echo('replica'), facts, config) };
}

const bookmark = (positions: Record<string, number>, lineage = LINEAGE) =>
  encodeBookmark({ lineage, positions: new Map(Object.entries(positions)) }, KEYS.bookmark, Date.now());

const nodeOf = (answer: Response) => answer.headers.get('x-node');
const seenBy = async (answer: Response) => (await answer.json()) as Seen;

test('reads are served here, writes by the primary', async () => {
  const { replica } = await pair();
  for (const method of ['GET', 'HEAD', 'OPTIONS'])
    assert.is(nodeOf(await fetch(replica.url, { method })), 'replica', method);
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'PROPFIND']) {
    assert.is(nodeOf(await fetch(replica.url, { method })), 'primary', method);
  }
  assert.is(replica.proxy.counts.forwarded, 5);
});

test('passthrough stays here, always-forward does not', async () => {
  const { replica, primary } = await pair({ passthrough: ['/local/*'], alwaysForward: ['/api/admin/*'] });
  assert.is(nodeOf(await fetch(`${replica.url}/local/x`, { method: 'POST' })), 'replica');
  assert.is(nodeOf(await fetch(`${replica.url}/api/admin/x?y`)), 'primary');
  assert.is(nodeOf(await fetch(`${replica.url}/api/%61dmin/x`)), 'primary');
  assert.is(primary.settles, 2);
});

test('a write that moved a database is told as a cookie and as a header, signed', async () => {
  const { primary, replica } = await pair();
  primary.moved('other.db', 9);
  primary.onSettle = () => {
    primary.moved('app.db', 7);
    return true;
  };
  const answer = await fetch(replica.url, { method: 'POST' });
  const text = answer.headers.get('sluice-position')!;
  const cookies = answer.headers.getSetCookie();
  assert.equal(cookies.slice(0, 2), ['a=1', 'b=2']);
  assert.is(cookies[2], `__sluice=${text}; Path=/; Max-Age=300; HttpOnly; SameSite=Lax`);
  const read = decodeBookmark(text, KEYS.bookmark, Date.now(), 1000)!;
  assert.equal([read.lineage, [...read.positions!]], [LINEAGE, [['app.db', 7]]]);
});

test('a write that moved nothing, and a read, get no cookie', async () => {
  const { primary } = await pair();
  for (const method of ['POST', 'GET']) {
    const answer = await fetch(primary.url, { method });
    assert.is(answer.headers.get('sluice-position'), null);
    assert.is(answer.headers.getSetCookie().length, 2);
  }
});

test('an answer whose positions are not known sends the client to the primary, until they are', async () => {
  const { primary, replica } = await pair();
  primary.onSettle = () => false;
  const text = (await fetch(replica.url, { method: 'POST' })).headers.get('sluice-position')!;
  assert.is(nodeOf(await fetch(replica.url, { headers: { 'sluice-position': text } })), 'primary');
  primary.onSettle = () => {
    primary.moved('app.db', 3);
    return true;
  };
  const next = await fetch(primary.url, { method: 'POST', headers: { cookie: `x=1; __sluice=${text}` } });
  assert.equal(
    [...decodeBookmark(next.headers.get('sluice-position')!, KEYS.bookmark, Date.now(), 1000)!.positions!],
    [['app.db', 3]],
  );
});

test('a read waits for its position, by cookie or header, and is served here then', async () => {
  const { replica } = await pair({ waitMs: 10_000 });
  for (const [i, headers] of [
    { cookie: `x=1; __sluice=${bookmark({ 'app.db': 5 })}` },
    { 'sluice-position': bookmark({ 'app.db': 6 }) },
  ].entries()) {
    const answer = fetch(replica.url, { headers: headers as Record<string, string> });
    await waitFor(() => replica.proxy.counts.waited === i + 1);
    replica.moved('app.db', 5 + i);
    assert.is(nodeOf(await answer), 'replica');
  }
  assert.is(replica.proxy.counts.late, 0);
});

test('a read that waits for too long goes to the primary, or gets 504', async () => {
  const { replica } = await pair();
  const headers = { cookie: `__sluice=${bookmark({ 'app.db': 5 })}` };
  assert.is(nodeOf(await fetch(replica.url, { headers })), 'primary');
  const strict = (await pair({ afterWait: '504' })).replica;
  const answer = await fetch(strict.url, { headers });
  assert.is(answer.status, 504);
  assert.is(((await answer.json()) as { code: string }).code, 'PROXY_BEHIND');
});

test('a bookmark of an older history holds nobody up', async () => {
  const { replica } = await pair({ waitMs: 10_000 });
  const headers = { cookie: `__sluice=${bookmark({ 'app.db': 50 }, '00000000000000bb')}` };
  replica.moved('app.db', 5);
  const answer = fetch(replica.url, { headers });
  await waitFor(() => replica.proxy.counts.waited === 1);
  replica.told('app.db', 5, Number.MAX_SAFE_INTEGER);
  assert.is(nodeOf(await answer), 'replica');
  // One that was followed here is known to be over.
  replica.view.heard({ kind: 'told', isNew: true, positions: [['app.db', 6]], asOfMs: 0 });
  replica.link({ role: 'replica', lineage: '00000000000000cc' });
  replica.moved('app.db', 6);
  assert.is(
    nodeOf(await fetch(replica.url, { headers: { cookie: `__sluice=${bookmark({ 'app.db': 50 })}` } })),
    'replica',
  );
  assert.is(replica.proxy.counts.waited, 1);
});

test('forged and foreign cookies count for nothing', async () => {
  const { replica } = await pair({ waitMs: 10_000 });
  const right = bookmark({ 'app.db': 5 });
  const foreign = encodeBookmark({ lineage: LINEAGE, positions: new Map([['app.db', 5]]) }, KEYS.mark, Date.now());
  const old = encodeBookmark(
    { lineage: LINEAGE, positions: new Map([['app.db', 5]]) },
    KEYS.bookmark,
    Date.now() - 301_000,
  );
  for (const text of [
    foreign,
    old,
    `${right}x`,
    right.slice(1),
    right.replace('.', '..'),
    '',
    'x',
    '%00',
    'a.b',
    '1'.repeat(5000),
  ]) {
    assert.is(nodeOf(await fetch(replica.url, { headers: { cookie: `__sluice=${text}` } })), 'replica', text);
  }
  assert.is(replica.proxy.counts.waited, 0);
});

test('a reader that goes away while it waits leaves nothing behind', async () => {
  const { replica } = await pair({ waitMs: 10_000 });
  const client = new RawClient(replica.port);
  client.send('GET / HTTP/1.1', 'Host: a', `Cookie: __sluice=${bookmark({ 'app.db': 5 })}`, '', '');
  await waitFor(() => replica.proxy.counts.waited === 1);
  client.socket.destroy();
  await client.close();
  replica.moved('app.db', 5);
  assert.is(nodeOf(await fetch(replica.url)), 'replica');
  assert.is(replica.proxy.counts.local, 1);
});

test('who it is from: nobody fakes it, a balancer is believed where it is wished', async () => {
  const fake = {
    'x-forwarded-for': '1.2.3.4',
    'x-forwarded-proto': 'https',
    'x-forwarded-host': 'evil',
    forwarded: 'for=1.2.3.4',
    'x-real-ip': '1.2.3.4',
    x_forwarded_for: '1.2.3.4',
  };
  const { primary, replica } = await pair();
  for (const [scene, method] of [
    [primary, 'GET'],
    [replica, 'GET'],
    [replica, 'POST'],
  ] as const) {
    const { headers } = await seenBy(await fetch(scene.url, { method, headers: fake }));
    assert.is(headers['x-forwarded-for'], '127.0.0.1', method);
    assert.is(headers['x-forwarded-proto'], 'http');
    assert.is(headers['x-forwarded-host'], new URL(scene.url).host);
    for (const name of ['forwarded', 'x-real-ip', 'x_forwarded_for', MARK_HEADER])
      assert.is(headers[name], undefined, name);
  }
  const trusting = await pair({ trustForwarded: true });
  const { headers } = await seenBy(await fetch(trusting.replica.url, { method: 'POST', headers: fake }));
  assert.is(headers['x-forwarded-for'], '1.2.3.4, 127.0.0.1');
  assert.is(headers['x-forwarded-proto'], 'https');
  assert.is(headers['x-forwarded-host'], 'evil');
});

test('a mark counts for the request it was made for, and for a minute', async () => {
  const { primary } = await pair();
  const marked = { method: 'POST', target: '/a', forwardedFor: '9.9.9.9', forwardedProto: 'https', forwardedHost: 'h' };
  const ask = async (target: string, nowMs: number, forwardedFor = '9.9.9.9', key = KEYS.mark) => {
    const headers = {
      'x-forwarded-for': forwardedFor,
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'h',
      [MARK_HEADER]: makeMark(marked, key, nowMs),
    };
    return (await seenBy(await fetch(primary.url + target, { method: 'POST', headers }))).headers['x-forwarded-for'];
  };
  assert.is(await ask('/a', Date.now()), '9.9.9.9');
  assert.is(await ask('/b', Date.now()), '127.0.0.1');
  assert.is(await ask('/a', Date.now(), '8.8.8.8'), '127.0.0.1');
  assert.is(await ask('/a', Date.now() - 61_000), '127.0.0.1');
  assert.is(await ask('/a', Date.now(), '9.9.9.9', KEYS.bookmark), '127.0.0.1');
});

test('two replicas that take each other for the primary do not loop', async () => {
  const first = await ProxyScene.start(await echo('one'), { role: 'replica', primary: null });
  const second = await ProxyScene.start(await echo('two'), { role: 'replica', primary: first.url });
  first.link({ role: 'replica', primary: second.url });
  const answer = await fetch(first.url, { method: 'POST', body: 'x' });
  assert.is(answer.status, 503);
  assert.is(answer.headers.get('retry-after'), '1');
  assert.is(((await answer.json()) as { code: string }).code, 'PROXY_NOT_PRIMARY');
  assert.is(first.proxy.counts.forwarded + second.proxy.counts.forwarded, 1);
});

test('what is between two neighbours stays there, and what is ours does not reach the application', async () => {
  const { primary } = await pair();
  const client = new RawClient(primary.port);
  client.send(
    'POST /p?q HTTP/1.1',
    'Host: h',
    'Connection: keep-alive, X-Hop',
    'X-Hop: 1',
    'Keep-Alive: 5',
    'Proxy-Connection: x',
    'TE: trailers, deflate',
    'Proxy-Authorization: x',
    'X-Twice: 1',
    'X-Twice: 2',
    'Cookie: a=1; __sluice=x.y; b=2',
    'Sluice-Position: p',
    'Sluice-Forwarded: f',
    'Content-Length: 0',
    '',
    '',
  );
  const seen = JSON.parse((await client.got(/\{.*\}/))[0]) as Seen;
  assert.equal([seen.method, seen.url], ['POST', '/p?q']);
  assert.equal(seen.raw, [
    'Host',
    'h',
    'X-Twice',
    '1',
    'X-Twice',
    '2',
    'Cookie',
    'a=1; b=2',
    'Content-Length',
    '0',
    'TE',
    'trailers',
    'X-Forwarded-For',
    '127.0.0.1',
    'X-Forwarded-Proto',
    'http',
    'X-Forwarded-Host',
    'h',
    'Connection',
    'keep-alive',
  ]);
});

for (const [what, lines, status] of [
  [
    'both lengths',
    ['POST / HTTP/1.1', 'Host: a', 'Content-Length: 4', 'Transfer-Encoding: chunked', '', '0', '', ''],
    400,
  ],
  [
    'both lengths the other way',
    ['POST / HTTP/1.1', 'Host: a', 'Transfer-Encoding: chunked', 'Content-Length: 4', '', '0', '', ''],
    400,
  ],
  ['two lengths', ['POST / HTTP/1.1', 'Host: a', 'Content-Length: 4', 'Content-Length: 5', '', 'abcde'], 400],
  [
    'a coding that is not chunked',
    ['POST / HTTP/1.1', 'Host: a', 'Transfer-Encoding: gzip, chunked', '', '0', '', ''],
    501,
  ],
  ['an obscured coding', ['POST / HTTP/1.1', 'Host: a', 'Transfer-Encoding: xchunked', '', '0', '', ''], 501],
  ['a space before the colon', ['POST / HTTP/1.1', 'Host: a', 'Content-Length : 4', '', 'abcd'], 400],
  ['a folded header', ['GET / HTTP/1.1', 'Host: a', 'X: 1', ' Content-Length: 4', '', 'abcd'], 400],
  ['two hosts', ['GET / HTTP/1.1', 'Host: a', 'Host: b', '', ''], 400],
  ['no host', ['GET / HTTP/1.1', '', ''], 400],
  ['a bare line feed', ['GET / HTTP/1.1\nHost: a\n\n'], 400],
  ['a negative length', ['POST / HTTP/1.1', 'Host: a', 'Content-Length: -1', '', ''], 400],
  [
    'a chunk size that is none',
    ['POST / HTTP/1.1', 'Host: a', 'Transfer-Encoding: chunked', '', '0x4', 'abcd', '0', '', ''],
    400,
  ],
  ['a head of 40 KB', ['GET / HTTP/1.1', 'Host: a', `X: ${'x'.repeat(40_000)}`, '', ''], 431],
] as const) {
  test(`no smuggling: ${what}`, async () => {
    let asked = 0;
    const target = await serve((request, response) => {
      asked++;
      request.resume();
      response.end();
    });
    const scene = await ProxyScene.start(target, {});
    const client = new RawClient(scene.port);
    client.send(...lines);
    const [, got] = await client.got(/^HTTP\/1\.1 (\d+)/);
    assert.is(Number(got), status);
    await client.close();
    // A body that goes wrong in its middle was begun.
    assert.ok(asked <= (what.startsWith('a chunk') ? 1 : 0));
  });
}

test('large bodies pass both ways with their trailers, and are not kept', async () => {
  const BYTES = 256 * 2 ** 20;
  const { primary, replica } = await bigPair();
  const before = process.memoryUsage().arrayBuffers;
  let peak = 0;
  const looks = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage().arrayBuffers - before);
  }, 20);
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    const request = requestHttp(
      `${replica.url}/big`,
      { method: 'POST', headers: { trailer: 'x-sum', te: 'trailers' } },
      resolve,
    );
    request.on('error', reject);
    const chunk = Buffer.alloc(2 ** 16, 'abc');
    const hash = createHash('sha256');
    let sent = 0;
    const more = () => {
      while (sent < BYTES) {
        sent += chunk.length;
        hash.update(chunk);
        if (!request.write(chunk)) {
          request.once('drain', more);
          return;
        }
      }
      request.addTrailers({ 'X-Sum': hash.digest('hex') });
      request.end();
    };
    more();
  });
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of answer) {
    hash.update(chunk as Buffer);
    bytes += (chunk as Buffer).length;
  }
  clearInterval(looks);
  assert.is(bytes, BYTES);
  assert.is(answer.trailers['x-sum'], hash.digest('hex'));
  assert.is(answer.trailers['x-got'], answer.trailers['x-sum']);
  assert.ok(peak < BYTES / 2, `${peak} bytes were kept`);
  assert.equal([primary.errors, replica.errors], [[], []]);
});

/** The application sends back what it gets, and behind it the sum that came behind that. */
async function bigPair(): Promise<{ primary: ProxyScene; replica: ProxyScene }> {
  const target = await serve((request, response) => {
    response.writeHead(200, { trailer: 'x-sum, x-got' });
    const hash = createHash('sha256');
    request.on('data', (chunk) => hash.update(chunk));
    request.on('end', () => {
      response.addTrailers({ 'X-Sum': hash.digest('hex'), 'X-Got': String(request.trailers['x-sum']) });
      response.end();
    });
    request.pipe(response, { end: false });
  });
  const primary = await ProxyScene.start(target, { role: 'primary' });
  return { primary, replica: await ProxyScene.start(target, { role: 'replica', primary: primary.url }) };
}

test('server-sent events come as they are sent, and the head before them', async () => {
  let say: (text: string) => void = () => undefined;
  const target = await serve((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.flushHeaders();
    say = (text) => response.write(`data: ${text}\n\n`);
  });
  const scene = await ProxyScene.start(target, {});
  const client = new RawClient(scene.port);
  client.send('GET /events HTTP/1.1', 'Host: a', '', '');
  await client.got(/text\/event-stream/);
  say('one');
  await client.got(/data: one/);
  say('two');
  await client.got(/data: two/);
});

test('Expect: 100-continue is asked of the application, and its no is passed on', async () => {
  const bodies: string[] = [];
  const target = await serve(
    () => undefined,
    (server) =>
      server.on('checkContinue', (request, response) => {
        if (request.url === '/no') {
          response.writeHead(413, { 'content-length': 0 }).end();
          return;
        }
        response.writeContinue();
        request.on('data', (data) => bodies.push(String(data)));
        request.on('end', () => response.end('thanks'));
      }),
  );
  const primary = await ProxyScene.start(target, {});
  const replica = await ProxyScene.start(target, { role: 'replica', primary: primary.url });
  const client = new RawClient(replica.port);
  client.send('POST /yes HTTP/1.1', 'Host: a', 'Expect: 100-continue', 'Content-Length: 4', '', '');
  await client.got(/^HTTP\/1\.1 100 Continue\r\n\r\n$/);
  client.send('body');
  await client.got(/HTTP\/1\.1 200 OK.*thanks/s);
  assert.equal(bodies, ['body']);
  const other = new RawClient(replica.port);
  other.send('POST /no HTTP/1.1', 'Host: a', 'Expect: 100-continue', 'Content-Length: 4', '', '');
  await other.got(/^HTTP\/1\.1 413/);
  assert.not.match(other.text, /100 Continue/);
});

test('a WebSocket passes to the node it belongs to; other protocols do not', async () => {
  const upgraded = (name: string) =>
    serve(
      (_request, response) => response.end(name),
      (server) =>
        server.on('upgrade', (request, socket) => {
          socket.write(
            request.url === '/no'
              ? 'HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnope'
              : `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nx-node: ${name}\r\n\r\nhello `,
          );
          socket.on('error', () => undefined);
          socket.pipe(socket);
        }),
    );
  const primary = await ProxyScene.start(await upgraded('primary'), {}, { alwaysForward: ['/live'] });
  const replica = await ProxyScene.start(
    await upgraded('replica'),
    { role: 'replica', primary: primary.url },
    { alwaysForward: ['/live'] },
  );
  const shake = [
    'Host: a',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Key: abc',
    'Sec-WebSocket-Version: 13',
    '',
    '',
  ];
  for (const [path, node] of [
    ['/', 'replica'],
    ['/live', 'primary'],
  ] as const) {
    const client = new RawClient(replica.port);
    client.send(`GET ${path} HTTP/1.1`, ...shake);
    client.send('early ');
    await client.got(new RegExp(`^HTTP/1\\.1 101 .*x-node: ${node}\\r\\n.*\\r\\n\\r\\nhello early `, 's'));
    client.send('more');
    await client.got(/early more$/);
    client.socket.end();
    await client.close();
  }
  const refused = new RawClient(replica.port);
  refused.send('GET /no HTTP/1.1', ...shake);
  await refused.got(/^HTTP\/1\.1 403 Forbidden.*nope$/s);
  const other = new RawClient(replica.port);
  other.send(
    'GET / HTTP/1.1',
    'Host: a',
    'Connection: Upgrade, HTTP2-Settings',
    'Upgrade: h2c',
    'HTTP2-Settings: AA',
    '',
    '',
  );
  await other.got(/^HTTP\/1\.1 200 OK.*replica/s);
});

test('no primary: a write waits, then gets 503; one that comes in time is served', async () => {
  const { primary, replica } = await pair({ primaryWaitMs: 400 });
  replica.link({ role: 'replica', primary: null });
  const answer = await fetch(replica.url, { method: 'POST', body: 'x'.repeat(10_000) });
  assert.is(answer.status, 503);
  assert.is(answer.headers.get('retry-after'), '1');
  const patient = await ProxyScene.start(1, { role: 'replica', primary: null }, { primaryWaitMs: 10_000 });
  const late = fetch(patient.url, { method: 'POST', body: 'x' });
  await waitFor(() => patient.proxy.counts.forwarded === 1);
  patient.link({ role: 'replica', primary: primary.url });
  assert.is(nodeOf(await late), 'primary');
  // Nobody listens there.
  patient.link({ role: 'replica', primary: 'http://127.0.0.1:1' });
  const gone = await ProxyScene.start(1, { role: 'replica', primary: 'http://127.0.0.1:1' });
  assert.is((await fetch(gone.url, { method: 'POST', body: 'x' })).status, 503);
});

test('before a node has said what it is a write waits, and a bookmark too', async () => {
  const port = await echo('here');
  const scene = await ProxyScene.start(port, undefined, { primaryWaitMs: 10_000, waitMs: 10_000 });
  assert.is((await fetch(`${scene.url}/.sluice/health`)).status, 503);
  const write = fetch(scene.url, { method: 'POST' });
  const read = fetch(scene.url, { headers: { cookie: `__sluice=${bookmark({ 'app.db': 1 })}` } });
  await waitFor(() => scene.proxy.counts.waited === 1);
  scene.link({ role: 'primary' });
  assert.equal([nodeOf(await write), nodeOf(await read)], ['here', 'here']);
  assert.equal(await (await fetch(`${scene.url}/.sluice/health`)).json(), { status: 'ok', role: 'primary', lagMs: 0 });
});

test('no application: 502', async () => {
  const scene = await ProxyScene.start(1, {});
  const answer = await fetch(scene.url, { method: 'POST', body: 'x' });
  assert.is(answer.status, 502);
  assert.is(((await answer.json()) as { code: string }).code, 'PROXY_TARGET');
});

test('fly-replay instead of forwarding', async () => {
  const { replica } = await pair({ flyReplay: 'region=fra' });
  const answer = await fetch(replica.url, { method: 'POST' });
  assert.is(answer.headers.get('fly-replay'), 'region=fra');
  assert.is(replica.proxy.counts.replayed, 1);
  // Replayed here nevertheless: the region is wrong.
  assert.is(
    nodeOf(await fetch(replica.url, { method: 'POST', headers: { 'fly-replay-src': 'instance=x' } })),
    'primary',
  );
});

test('a client that goes away ends the request of the application', async () => {
  let begun = 0;
  let ended = 0;
  const target = await serve((request, response) => {
    begun++;
    request.on('error', () => undefined);
    response.on('close', () => {
      if (!response.writableFinished) ended++;
    });
    if (request.url === '/answering') response.write('some');
  });
  const scene = await ProxyScene.start(target, {});
  for (const [i, lines] of [
    ['GET /waiting HTTP/1.1', 'Host: a', '', ''],
    ['GET /answering HTTP/1.1', 'Host: a', '', ''],
    ['POST /sending HTTP/1.1', 'Host: a', 'Content-Length: 100', '', 'abc'],
  ].entries()) {
    const client = new RawClient(scene.port);
    client.send(...lines);
    await waitFor(() => begun === i + 1);
    client.socket.destroy();
    await waitFor(() => ended === i + 1);
  }
  assert.is((await fetch(`${scene.url}/.sluice/health`)).status, 200);
});

test('an answer that is cut short is cut short for the client', async () => {
  const target = await serve((_request, response) => {
    response.writeHead(200, { 'content-length': 100 });
    response.write('some');
    setTimeout(() => response.destroy(), 20);
  });
  const scene = await ProxyScene.start(target, {});
  const client = new RawClient(scene.port);
  client.send('GET / HTTP/1.1', 'Host: a', '', '');
  await client.got(/some/);
  await client.close();
});

test('a kept connection that the application has closed: once more, but never a write', async () => {
  let answered = 0;
  let cut = false;
  const target = await serve(
    (request, response) => {
      request.resume();
      if (cut && request.socket.bytesWritten > 0) {
        request.socket.resetAndDestroy();
        return;
      }
      answered++;
      response.end('fine');
    },
    (server) => {
      server.keepAliveTimeout = 60_000;
    },
  );
  const scene = await ProxyScene.start(target, {});
  assert.is(await (await fetch(scene.url)).text(), 'fine');
  cut = true;
  assert.is(await (await fetch(scene.url)).text(), 'fine');
  cut = false;
  assert.is(await (await fetch(scene.url)).text(), 'fine');
  cut = true;
  const write = await fetch(scene.url, { method: 'POST' });
  assert.is(write.status, 502);
  assert.is(answered, 3);
});

test('limits: no answer, a body that does not come, a client that does not read', async () => {
  const target = await serve((request, response) => {
    if (request.url === '/endless') {
      const more = () => {
        while (response.write(Buffer.alloc(2 ** 16)));
        response.once('drain', more);
      };
      more();
    }
  });
  const scene = await ProxyScene.start(target, {}, { responseMs: 300, idleMs: 400 });
  assert.is((await fetch(scene.url)).status, 504);
  const slow = new RawClient(scene.port);
  slow.send('POST / HTTP/1.1', 'Host: a', 'Content-Length: 100', '', 'abc');
  await slow.got(/^HTTP\/1\.1 408/);
  const deaf = new RawClient(scene.port);
  deaf.socket.pause();
  deaf.send('GET /endless HTTP/1.1', 'Host: a', '', '');
  await waitFor(() => scene.proxy.counts.local === 3);
  await new Promise((resolve) => setTimeout(resolve, 1200));
  deaf.socket.resume();
  await deaf.close();
});

test('it stops when what is under way is done, or after its limit', async () => {
  let finish: () => void = () => undefined;
  const target = await serve((_request, response) => {
    response.write('begun ');
    finish = () => response.end('done');
  });
  const scene = await ProxyScene.start(target, {}, { drainMs: 10_000 });
  const client = new RawClient(scene.port);
  client.send('GET / HTTP/1.1', 'Host: a', '', '');
  await client.got(/begun/);
  const stopped = scene.proxy.stop();
  finish();
  await client.got(/done/);
  await stopped;
  const other = await ProxyScene.start(target, {}, { drainMs: 100 });
  const endless = new RawClient(other.port);
  endless.send('GET / HTTP/1.1', 'Host: a', '', '');
  await endless.got(/begun/);
  await other.proxy.stop();
  await endless.close();
});

test('the application is lost while its answer waits for positions: one answer, and the proxy goes on', async () => {
  let cut: () => void = () => undefined;
  const target = await serve((request, response) => {
    request.resume();
    response.writeHead(200, { 'content-length': 100 });
    response.write('some');
    cut = () => response.destroy();
  });
  const scene = await ProxyScene.start(target, {});
  let settled: (complete: boolean) => void = () => undefined;
  scene.onSettle = () =>
    new Promise((resolve) => {
      settled = resolve;
    });
  const answer = fetch(scene.url, { method: 'POST' });
  await waitFor(() => scene.settles === 1);
  cut();
  assert.is((await answer).status, 502);
  settled(true);
  const gone = new RawClient(scene.port);
  gone.send('POST / HTTP/1.1', 'Host: a', 'Content-Length: 0', '', '');
  await waitFor(() => scene.settles === 2);
  gone.socket.destroy();
  await gone.close();
  settled(true);
  assert.is((await fetch(`${scene.url}/.sluice/health`)).status, 200);
});

test('clients that leave at any time, by the hundred: nothing of them stays', async () => {
  let under = 0;
  const target = await serve((request, response) => {
    under++;
    response.on('close', () => under--);
    response.on('error', () => undefined);
    request.on('error', () => undefined);
    request.pipe(response);
  });
  const scene = await ProxyScene.start(target, {});
  for (let i = 0; i < 300; i++) {
    const client = new RawClient(scene.port);
    client.send('POST / HTTP/1.1', 'Host: a', 'Transfer-Encoding: chunked', '', '4', 'abcd', '');
    if (i % 3 === 0) await client.got(/abcd/);
    else await new Promise((resolve) => setTimeout(resolve, i % 5));
    client.socket[i % 2 === 0 ? 'destroy' : 'resetAndDestroy']();
  }
  await waitFor(() => under === 0);
  assert.equal(scene.errors, []);
  assert.is((await fetch(scene.url, { method: 'POST', body: 'still' })).status, 200);
});

test('an HTTP/1.0 client gets its answer to the end of the connection', async () => {
  const scene = await ProxyScene.start(await echo('here'), {});
  const client = new RawClient(scene.port);
  client.send('GET /old HTTP/1.0', '', '');
  await client.close();
  assert.match(client.text, /^HTTP\/1\.1 200 .*"url":"\/old".*\}$/s);
  assert.not.match(client.text, /transfer-encoding/i);
});

test('its own pages', async () => {
  const scene = await ProxyScene.start(1, {
    role: 'replica',
    unfit: 'lag of 20 ms is over the limit of 10 ms',
    lagMs: 20,
  });
  const health = await fetch(`${scene.url}/.sluice/health?x`);
  assert.is(health.status, 503);
  assert.equal(await health.json(), {
    status: 'unfit',
    reason: 'lag of 20 ms is over the limit of 10 ms',
    role: 'replica',
    lagMs: 20,
  });
  assert.is((await fetch(`${scene.url}/.sluice/other`)).status, 404);
  assert.is((await fetch(`${scene.url}/.sluice/health`, { method: 'POST' })).status, 405);
  scene.view.ended();
  assert.is(((await (await fetch(`${scene.url}/.sluice/health`)).json()) as { reason: string }).reason, 'no node');
});

test.run();
