import { samePosition } from '../../src/ltx/index.js';
import {
  ReplicationClient,
  type ReplicationClientOptions,
  ReplicationServer,
  type ReplicationServerOptions,
} from '../../src/replication/index.js';
import { eventually, FakeDatabaseSet, FakeSink, silentLog } from './fakes.js';

/** Short waits, so that tests are quick; every limit can be overridden. */
const CLIENT = { reconnectMinMs: 5, reconnectMaxMs: 50, refusedMs: 100, retryMinMs: 5, retryMaxMs: 50 };

/** A primary and its replicas on real sockets, all of it closed by `close`. */
export class Pair {
  readonly databases = new FakeDatabaseSet();
  readonly sink = new FakeSink();
  server!: ReplicationServer;
  client!: ReplicationClient;
  url = '';
  private readonly clients: ReplicationClient[] = [];

  constructor(
    private readonly serverOptions: Partial<ReplicationServerOptions> = {},
    private readonly clientOptions: Partial<ReplicationClientOptions> = {},
  ) {}

  async listen(host = '127.0.0.1', port = 0): Promise<void> {
    this.server = this.makeServer();
    const address = await this.server.listen(host, port);
    this.url = `ws://${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
  }

  makeServer(): ReplicationServer {
    return new ReplicationServer({
      databases: this.databases,
      nodeId: 'primary',
      log: silentLog,
      heartbeatMs: 20,
      ...this.serverOptions,
      limits: { drainMs: 500, ...this.serverOptions.limits },
    });
  }

  /** Starts a replica; the first is `client`, with `sink`. */
  follow(sink: FakeSink = this.sink, options: Partial<ReplicationClientOptions> = {}): ReplicationClient {
    const client = new ReplicationClient({
      url: this.url,
      sink,
      nodeId: `replica-${this.clients.length + 1}`,
      log: silentLog,
      heartbeatMs: 20,
      ...this.clientOptions,
      ...options,
      limits: { ...CLIENT, ...this.clientOptions.limits, ...options.limits },
    });
    if (this.clients.length === 0) this.client = client;
    this.clients.push(client);
    client.start();
    return client;
  }

  async start(): Promise<void> {
    await this.listen();
    this.follow();
    await this.caughtUp();
  }

  /** Waits until the client was caught up once. */
  async caughtUp(client: ReplicationClient = this.client): Promise<void> {
    let done = false;
    void client.caughtUp.then(() => {
      done = true;
    });
    await eventually(() => done, 'caught up');
  }

  /** Waits until the sink has what the primary has. */
  async same(sink: FakeSink = this.sink, names: Iterable<string> = this.databases.databases.keys()): Promise<void> {
    for (const name of [...names]) {
      const has = (): boolean => samePosition(sink.positionOf(name), this.databases.get(name)!.position);
      await eventually(has, `${name} is the same on the replica`);
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.clients.map((client) => client.stop()));
    await this.server?.close();
  }
}

/** Runs `body` with a pair and closes it whatever happens. */
export async function withPair(
  body: (pair: Pair) => Promise<void>,
  server: Partial<ReplicationServerOptions> = {},
  client: Partial<ReplicationClientOptions> = {},
): Promise<void> {
  const pair = new Pair(server, client);
  try {
    await body(pair);
  } finally {
    await pair.close();
  }
}
