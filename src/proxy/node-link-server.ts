import { statSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { chmodSync, mkdirSync, renameSync, rmSync, unlinkSync } from '../disk/index.js';
import { describeError, SluiceError } from '../errors.js';
import type { Txid } from '../ltx/index.js';
import { BATCH_NAMES, COALESCE_MS, MAX_LINK_BUFFER_BYTES, MAX_LINKS, TICK_MS } from './limits.js';
import { readLines } from './line-reader.js';
import { type FromNode, isToNode, type NodeFacts, type Told } from './link-messages.js';
import type { ProxyCounts } from './proxy-counts.js';
import { SOCKET_NAME, SocketFolder } from './socket-path.js';

/** What the primary said that it has; see PrimaryWord of src/replication. */
export interface Word {
  readonly run: bigint | null;
  readonly told: ReadonlyMap<string, Txid>;
  readonly asOfMs: number;
}

/** The node as its proxies are told of it. */
export interface LinkedNode {
  facts(): NodeFacts;
  /** Of all databases: what readers of the mount see. */
  positions(): Iterable<Told>;
  /** Of one; 0 if it is not there. */
  txid(name: string): Txid;
  /** On a replica of a primary. */
  word(): Word | undefined;
  /** Resolves when `txid` has all that was committed before the call; false if that cannot be said. */
  settle(databases: readonly string[] | null): Promise<boolean>;
  counted(counts: ProxyCounts): void;
}

export interface NodeLinkServerOptions {
  readonly runFolder: string;
  readonly node: LinkedNode;
  readonly log: { warn(fields: object, message: string): void };
}

/** The node's side of what it says to its proxy, by a socket of its `run` folder that only its own user can open. */
export class NodeLinkServer {
  readonly #folder: SocketFolder;
  readonly #server: Server;
  readonly #links = new Set<Socket>();
  readonly #moved = new Set<string>();
  #facts = '';
  readonly #told = new Map<string, Txid>();
  readonly #positions = new Map<string, Txid>();
  #run: bigint | null = null;
  #asOfMs = 0;
  #ticker: NodeJS.Timeout | undefined;
  #flush: NodeJS.Timeout | undefined;
  #inode: number | undefined;
  #closed = false;

  constructor(private readonly options: NodeLinkServerOptions) {
    this.#folder = new SocketFolder(options.runFolder);
    this.#server = createServer((socket) => this.#accept(socket));
    this.#server.maxConnections = MAX_LINKS;
  }

  /** Throws `PROXY_SOCKET`. */
  async listen(): Promise<void> {
    const { path } = this.#folder;
    // Bound in a folder that is closed to others, then moved: at no time can another user open it.
    const own = `link-${process.pid}`;
    try {
      rmSync(join(path, own), { recursive: true, force: true });
      mkdirSync(join(path, own), { mode: 0o700 });
      const bound = this.#folder.pathOf(join(own, SOCKET_NAME));
      await new Promise<void>((resolve, reject) => {
        this.#server.once('error', reject);
        this.#server.listen(bound, resolve);
      });
      const draft = join(path, own, SOCKET_NAME);
      chmodSync(draft, 0o600);
      this.#inode = statSync(draft).ino;
      renameSync(draft, join(path, SOCKET_NAME));
    } catch (error) {
      this.#server.close();
      const text = `cannot make the socket ${SOCKET_NAME} in ${path}: ${describeError(error)}`;
      throw new SluiceError('PROXY_SOCKET', text, 'The data folder must be on a file system that has sockets', {
        cause: error,
      });
    } finally {
      rmSync(join(path, own), { recursive: true, force: true });
    }
    this.#server.on('error', (error) => this.options.log.warn({ err: error }, 'the link to the proxy'));
    this.#ticker = setInterval(() => this.#tick(), TICK_MS).unref();
  }

  /** Something has changed: with a name, where that database is; else what `facts` or `word` say. */
  changed(name?: string): void {
    if (this.#links.size === 0) return;
    if (name !== undefined) this.#moved.add(name);
    this.#flush ??= setTimeout(() => this.#tell(), COALESCE_MS);
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#ticker);
    clearTimeout(this.#flush);
    for (const socket of this.#links) socket.destroy();
    this.#server.close();
    const file = join(this.#folder.path, SOCKET_NAME);
    // A successor may have put its own there.
    if (statSync(file, { throwIfNoEntry: false })?.ino === this.#inode) unlinkSync(file);
    this.#folder.close();
  }

  #accept(socket: Socket): void {
    socket.on('error', () => undefined);
    socket.on('close', () => this.#links.delete(socket));
    if (this.#closed) {
      socket.destroy();
      return;
    }
    readLines(socket, (value) => {
      if (!isToNode(value)) throw new Error('not a message of a proxy');
      if (value.kind === 'counts') this.options.node.counted(value.counts);
      else void this.#settle(socket, value.id, value.databases);
    });
    // What the others were told is what this one is told to begin with.
    this.#look();
    this.#tell();
    this.#links.add(socket);
    const send = (message: FromNode) => this.#send(socket, message);
    send({ kind: 'facts', facts: this.options.node.facts() });
    for (const positions of batches(this.#positions)) send({ kind: 'positions', positions });
    let isNew = true;
    for (const positions of batches(this.#told)) {
      send({ kind: 'told', isNew, positions, asOfMs: 0 });
      isNew = false;
    }
    send({ kind: 'told', isNew, positions: [], asOfMs: this.#asOfMs });
    send({ kind: 'whole' });
  }

  async #settle(socket: Socket, id: number, databases: readonly string[] | null): Promise<void> {
    const complete = await this.options.node.settle(databases).catch(() => false);
    if (this.#closed) return;
    this.#tell();
    this.#send(socket, { kind: 'settled', id, complete });
  }

  #tick(): void {
    if (this.#links.size === 0) return;
    this.#look();
    this.#tell();
  }

  /** Finds what moved, or went, without a word. */
  #look(): void {
    const present = new Set<string>();
    for (const [name, txid] of this.options.node.positions()) {
      present.add(name);
      if (this.#positions.get(name) !== txid) this.#moved.add(name);
    }
    for (const name of this.#positions.keys()) if (!present.has(name)) this.#moved.add(name);
  }

  /** Tells all proxies what has changed since the last time. */
  #tell(): void {
    clearTimeout(this.#flush);
    this.#flush = undefined;
    // The lineage before what was told in it.
    this.#tellFacts();
    this.#tellWord();
    const moved: Told[] = [];
    for (const name of this.#moved) {
      const txid = this.options.node.txid(name);
      if ((this.#positions.get(name) ?? 0) === txid) continue;
      if (txid === 0) this.#positions.delete(name);
      else this.#positions.set(name, txid);
      moved.push([name, txid]);
    }
    this.#moved.clear();
    for (let i = 0; i < moved.length; i += BATCH_NAMES) {
      this.#broadcast({ kind: 'positions', positions: moved.slice(i, i + BATCH_NAMES) });
    }
  }

  #tellFacts(): void {
    const facts = this.options.node.facts();
    const text = JSON.stringify(facts);
    if (text === this.#facts) return;
    this.#facts = text;
    this.#broadcast({ kind: 'facts', facts });
  }

  #tellWord(): void {
    const word = this.options.node.word();
    if (word === undefined || (word.run === this.#run && word.asOfMs === this.#asOfMs)) return;
    const isNew = word.run !== this.#run;
    if (isNew) this.#told.clear();
    this.#run = word.run;
    this.#asOfMs = word.asOfMs;
    const changes: Told[] = [];
    for (const [name, txid] of word.told) {
      if (this.#told.get(name) === txid) continue;
      this.#told.set(name, txid);
      changes.push([name, txid]);
    }
    for (const name of this.#told.keys()) {
      if (word.told.has(name)) continue;
      this.#told.delete(name);
      changes.push([name, 0]);
    }
    this.#broadcast({ kind: 'told', isNew, positions: changes, asOfMs: word.asOfMs });
  }

  #broadcast(message: FromNode): void {
    for (const socket of this.#links) this.#send(socket, message);
  }

  #send(socket: Socket, message: FromNode): void {
    if (!socket.writable) return;
    socket.write(`${JSON.stringify(message)}\n`);
    if (socket.writableLength > MAX_LINK_BUFFER_BYTES) socket.destroy();
  }
}

function* batches(positions: ReadonlyMap<string, Txid>): Generator<Told[]> {
  let batch: Told[] = [];
  for (const entry of positions) {
    batch.push(entry);
    if (batch.length < BATCH_NAMES) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}
