import { mkdirSync, readdirSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type LinkedNode, type NodeFacts, NodeLinkServer, type Word } from '../../src/proxy/index.js';
import { NodeLink } from '../../src/proxy/node-link.js';
import { NodeView } from '../../src/proxy/node-view.js';
import { newCounts, type ProxyCounts } from '../../src/proxy/proxy-counts.js';
import { cleanUp, freshFolder, waitFor } from '../support/cluster.js';
import { FACTS } from './support/scene.js';

const test = suite('proxy/node-link');
const open: { close(): void }[] = [];
test.after.each(() => {
  for (const each of open.splice(0)) each.close();
});
test.after(cleanUp);

/** A node that is what the test says. */
class FakeNode implements LinkedNode {
  said: NodeFacts = FACTS;
  readonly places = new Map<string, number>();
  theWord: Word | undefined;
  settled: (databases: readonly string[] | null) => Promise<boolean> = async () => true;
  counts: ProxyCounts | undefined;
  facts = () => this.said;
  positions = () => this.places;
  txid = (name: string) => this.places.get(name) ?? 0;
  word = () => this.theWord;
  settle = (databases: readonly string[] | null) => this.settled(databases);
  counted(counts: ProxyCounts): void {
    this.counts = counts;
  }
}

async function serve(folder: string, node: FakeNode): Promise<NodeLinkServer> {
  const server = new NodeLinkServer({ runFolder: folder, node, log: { warn: () => undefined } });
  await server.listen();
  open.push(server);
  return server;
}

function follow(folder: string, databases: readonly string[] | null = null): { view: NodeView; link: NodeLink } {
  const view = new NodeView(databases);
  const link = new NodeLink(folder, view, databases);
  open.push(link);
  link.start();
  return { view, link };
}

test('a proxy is told everything, then what changes', async () => {
  const folder = freshFolder('link');
  const node = new FakeNode();
  for (let i = 0; i < 1200; i++) node.places.set(`${i}.db`, i + 1);
  const server = await serve(folder, node);
  const { view } = follow(folder);
  await waitFor(() => view.linked);
  assert.is(view.txid('1199.db'), 1200);
  assert.is(view.role, 'primary');
  const { serial } = view;
  node.places.set('7.db', 100);
  server.changed('7.db');
  await waitFor(() => view.txid('7.db') === 100);
  assert.equal([...view.movedSince(serial)], [['7.db', 100]]);
  // What nobody tells of is found.
  node.places.delete('8.db');
  node.said = { ...FACTS, role: 'replica' };
  await waitFor(() => view.txid('8.db') === undefined && view.role === 'replica');
});

test('what the primary said, and of which lineage', async () => {
  const folder = freshFolder('link');
  const node = new FakeNode();
  node.said = { ...FACTS, role: 'replica', lineage: 'one' };
  node.theWord = { run: 1n, told: new Map([['a.db', 5]]), asOfMs: 0 };
  const server = await serve(folder, node);
  const { view } = follow(folder);
  await waitFor(() => view.linked);
  assert.is(view.told('a.db'), 5);
  node.theWord = { run: 1n, told: new Map([['b.db', 6]]), asOfMs: 77 };
  server.changed();
  await waitFor(() => view.asOfMs === 77);
  assert.equal([view.told('a.db'), view.told('b.db')], [undefined, 6]);
  node.said = { ...node.said, lineage: 'two' };
  node.theWord = { run: 2n, told: new Map(), asOfMs: 0 };
  server.changed();
  await waitFor(() => view.lineage === 'two' && view.asOfMs === 0);
  assert.equal([view.told('b.db'), view.isPast('one'), view.isPast('two')], [undefined, true, false]);
});

test('settled: what was moved before is there', async () => {
  const folder = freshFolder('link');
  const node = new FakeNode();
  const server = await serve(folder, node);
  const { view, link } = follow(folder, ['a.db']);
  await waitFor(() => view.linked);
  const asked: unknown[] = [];
  node.settled = async (databases) => {
    asked.push(databases);
    node.places.set('a.db', 3);
    node.places.set('b.db', 3);
    server.changed('a.db');
    server.changed('b.db');
    return true;
  };
  const { serial } = view;
  assert.is(await link.settle(5000), true);
  assert.equal([...view.movedSince(serial)], [['a.db', 3]], 'b.db does not count');
  assert.equal(asked, [['a.db']]);
  node.settled = async () => false;
  assert.is(await link.settle(5000), false);
  node.settled = () => Promise.reject(new Error('no'));
  assert.is(await link.settle(5000), false);
  node.settled = () => new Promise(() => undefined);
  assert.is(await link.settle(50), false);
});

test('the next node is found, asked again what the last one did not answer, and compared with it', async () => {
  const folder = freshFolder('link');
  const node = new FakeNode();
  node.places.set('a.db', 1).set('b.db', 1).set('c.db', 1);
  node.settled = () => new Promise(() => undefined);
  const server = await serve(folder, node);
  const { view, link } = follow(folder);
  await waitFor(() => view.linked);
  const { serial } = view;
  const settled = link.settle(10_000);
  server.close();
  await waitFor(() => !view.linked);
  assert.is(view.txid('a.db'), 1, 'what was known stays known');
  const next = new FakeNode();
  next.places.set('a.db', 1).set('b.db', 2);
  await serve(folder, next);
  assert.is(await settled, true);
  assert.equal([...view.movedSince(serial)], [['b.db', 2]]);
  assert.is(view.txid('c.db'), undefined);
  link.counts({ ...newCounts(), local: 7 });
  await waitFor(() => next.counts?.local === 7);
});

test('a node that takes over has the socket, and its predecessor does not remove it', async () => {
  const folder = freshFolder('link');
  const old = await serve(folder, new FakeNode());
  await serve(folder, new FakeNode());
  old.close();
  assert.equal(readdirSync(folder), ['node.sock']);
  const { view } = follow(folder);
  await waitFor(() => view.linked);
});

test('the socket is its owner’s, also below a long path; and what is no message ends a connection', async () => {
  const folder = join(freshFolder('link'), 'a'.repeat(100), 'b'.repeat(100));
  mkdirSync(folder, { recursive: true });
  const server = await serve(folder, new FakeNode());
  assert.is(statSync(join(folder, 'node.sock')).mode & 0o777, 0o600);
  const { view } = follow(folder);
  await waitFor(() => view.linked);
  server.close();
  assert.equal(readdirSync(folder), []);
  const short = freshFolder('link');
  await serve(short, new FakeNode());
  for (const line of ['nonsense', '{}', '[1]', '{"kind":"settle"}', '{"kind":"counts","counts":3}']) {
    const socket = connect(join(short, 'node.sock')).on('error', () => undefined);
    socket.write(`${line}\n`);
    await new Promise((resolve) => socket.resume().once('close', resolve));
  }
  const after = follow(short);
  await waitFor(() => after.view.linked);
});

test('a proxy that is there before its node waits for it', async () => {
  const folder = join(freshFolder('link'), 'x'.repeat(120), 'run');
  const { view, link } = follow(folder);
  const settled = link.settle(10_000);
  mkdirSync(folder, { recursive: true });
  await serve(folder, new FakeNode());
  assert.is(await settled, true);
  assert.ok(view.linked);
});

test.run();
