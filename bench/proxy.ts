import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort, startNode } from './places.js';
import { Server, script } from './processes.js';
import { median, microseconds, table } from './stats.js';

const APPLICATION = fileURLToPath(new URL('./http-application.js', import.meta.url));
const LOAD = fileURLToPath(new URL('./http-load.js', import.meta.url));
const SECONDS = 4;
const MANY = 64;

interface Load {
  readonly perSecond: number;
  /** Microseconds. */
  readonly p50: number;
  readonly p99: number;
}

/** What the proxy adds to a request, and how many it carries: an application by itself, and through the proxy of its node. */
export async function benchProxy(root: string, rounds: number): Promise<string> {
  const stops: (() => Promise<void>)[] = [];
  try {
    const primary = await startSide(root, 'proxy-primary', undefined, stops);
    const replica = await startSide(root, 'proxy-replica', primary.node, stops);
    const written = await fetch(`http://127.0.0.1:${replica.port}/`, { method: 'POST' });
    const position = `sluice-position: ${written.headers.get('sluice-position')}`;
    const rows: string[][] = [];
    const measure = async (
      what: string,
      ways: readonly (readonly [method: string, port: number, header?: string])[],
    ) => {
      const one: Load[][] = ways.map(() => []);
      const many: Load[][] = ways.map(() => []);
      for (let round = 0; round < rounds; round++) {
        for (const [i, [method, port, header]] of ways.entries()) {
          one[i]!.push(await load(method, port, 1, header));
          many[i]!.push(await load(method, port, MANY, header));
        }
      }
      const of = (loads: Load[], key: keyof Load) => median(loads.map((each) => each[key]));
      const shown = ways.map((_, i) => [
        microseconds(of(one[i]!, 'p50')),
        microseconds(of(one[i]!, 'p99')),
        of(many[i]!, 'perSecond').toFixed(0),
      ]);
      rows.push([what, ...shown.flat()]);
      process.stderr.write(`  proxy, ${rows.at(-1)!.join(', ')}\n`);
    };
    await measure('read on the primary', [
      ['GET', primary.target],
      ['GET', primary.port],
    ]);
    await measure('read on a replica, with a cookie', [
      ['GET', replica.target],
      ['GET', replica.port, position],
    ]);
    await measure('write on the primary', [
      ['POST', primary.target],
      ['POST', primary.port],
    ]);
    await measure('write on a replica (direct: to the primary)', [
      ['POST', primary.target],
      ['POST', replica.port],
    ]);
    const head = [
      'request',
      'direct p50',
      'p99',
      `requests/s, ${MANY} connections`,
      'proxied p50',
      'p99',
      'requests/s',
    ];
    return [
      'An application of node:http that reads or writes one row with better-sqlite3; one connection for the times. Application, proxies, nodes and',
      `the load share the machine. Median of ${rounds} rounds of ${SECONDS} s.`,
      '',
      table(head, rows),
    ].join('\n');
  } finally {
    for (const stop of stops.reverse()) await stop();
  }
}

async function startSide(
  root: string,
  name: string,
  follow: Awaited<ReturnType<typeof startNode>> | undefined,
  stops: (() => Promise<void>)[],
) {
  const [port, target] = [await freePort(), await freePort()];
  const node = await startNode(root, name, { proxy: { port, target }, ...(follow !== undefined && { follow }) });
  stops.push(() => node.server.stop());
  const args = [APPLICATION, String(target), join(node.mount, 'bench.db')];
  const application = await Server.start(`${name}-app`, process.execPath, args, (output) =>
    output.includes('listening'),
  );
  stops.push(() => application.stop());
  return { node, port, target };
}

function load(method: string, port: number, connections: number, header?: string): Promise<Load> {
  return script<Load>(LOAD, method, port, connections, SECONDS, ...(header === undefined ? [] : [header]));
}
