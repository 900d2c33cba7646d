import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { Server } from './processes.js';

export interface Node {
  readonly mount: string;
  readonly data: string;
  readonly server: Server;
  readonly statusUrl: string;
  readonly streamUrl: string;
}

export interface NodeOptions {
  readonly locks?: 'kernel' | 'sluice';
  readonly wakeups?: 'auto' | 'off';
  readonly passthrough?: 'on' | 'off';
  readonly driver?: 'raw' | 'libfuse';
  /** The primary to follow; left out: a primary. */
  readonly follow?: Node;
  /** Of sluice.yml. */
  readonly durability?: object;
  /** The `writes` section of its config. */
  readonly writes?: object;
  /** Folder to back up to. */
  readonly backup?: string;
  /** Ports of an HTTP proxy and of the application behind it. */
  readonly proxy?: { readonly port: number; readonly target: number };
}

/** Starts a node of Sluice with its own folders below `root`. */
export async function startNode(root: string, name: string, options: NodeOptions = {}): Promise<Node> {
  const folder = join(root, name);
  mkdirSync(folder, { recursive: true });
  const [http, stream] = [await freePort(), await freePort()];
  const config = {
    data: join(folder, 'data'),
    mount: {
      path: join(folder, 'mnt'),
      driver: options.driver ?? 'raw',
      locks: options.locks ?? 'kernel',
      wakeups: options.wakeups ?? 'auto',
      passthrough: options.passthrough ?? 'on',
    },
    http: { listen: `127.0.0.1:${http}` },
    // Proxies of several nodes sign with it.
    replication: { listen: options.follow === undefined ? `127.0.0.1:${stream}` : 'off', token: 'bench' },
    ...(options.proxy === undefined
      ? {}
      : { proxy: { listen: `127.0.0.1:${options.proxy.port}`, target: `127.0.0.1:${options.proxy.target}` } }),
    lease:
      options.follow === undefined
        ? { type: 'static', role: 'primary' }
        : { type: 'static', role: 'replica', primary: options.follow.streamUrl },
    ...(options.backup === undefined ? {} : { backup: { url: `file://${options.backup}` } }),
    ...(options.durability === undefined ? {} : { durability: options.durability }),
    ...(options.writes === undefined ? {} : { writes: options.writes }),
    log: { level: 'info', format: 'json' },
  };
  const file = join(folder, 'sluice.yml');
  writeFileSync(file, JSON.stringify(config));
  const server = await Server.sluice(name, file, config.mount.path);
  return {
    mount: config.mount.path,
    data: config.data,
    server,
    statusUrl: `http://127.0.0.1:${http}/status`,
    streamUrl: `ws://127.0.0.1:${stream}`,
  };
}

/** LiteFS as primary (static lease) or replica of one. */
export async function startLitefs(binary: string, root: string, name: string, primaryPort?: number) {
  const folder = join(root, name);
  const mount = join(folder, 'mnt');
  mkdirSync(mount, { recursive: true });
  const port = await freePort();
  const config = {
    fuse: { dir: mount, 'allow-other': false },
    data: { dir: join(folder, 'data') },
    http: { addr: `127.0.0.1:${port}` },
    lease: {
      type: 'static',
      hostname: 'localhost',
      'advertise-url': `http://127.0.0.1:${primaryPort ?? port}`,
      candidate: primaryPort === undefined,
    },
  };
  const file = join(folder, 'litefs.yml');
  writeFileSync(file, JSON.stringify(config));
  const ready = (output: string) => output.includes('http server listening') || output.includes('LiteFS mounted');
  const server = await Server.start(name, binary, ['mount', '-config', file], ready, mount);
  return { mount, port, server };
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no free port');
  return address.port;
}
