import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { formatListen, type HttpConfig, type ListenAddress } from '../config/index.js';
import { errorCode, SluiceError } from '../errors.js';
import type { BackupRequest, BackupRun, NodeState, NodeStatus } from '../status.js';
import { healthOf } from './health.js';
import type { Metrics } from './metrics.js';
import { bearerMatches } from './token.js';

const MAX_CONNECTIONS = 128;
const REQUEST_LIMIT_MS = 10_000;
const IDLE_LIMIT_MS = 30_000;
const MAX_HEADER_BYTES = 8_192;

export interface HttpOptions {
  readonly config: HttpConfig;
  readonly metrics: Metrics;
  /** The node's state, for what is asked often; undefined until there is a node. */
  readonly state: () => NodeState | undefined;
  readonly status: () => Promise<NodeStatus | undefined>;
  /** Stores all that is not stored yet; undefined until there is a node. Throws a SluiceError where that makes no sense. */
  readonly backUp: (options: BackupRequest) => Promise<readonly BackupRun[] | undefined>;
  readonly log: { error(fields: object, message: string): void };
}

export interface HttpServer {
  /** Where it listens; null if it is off. */
  readonly address: ListenAddress | null;
  /** Ends open connections too. Safe to call twice. */
  close(): Promise<void>;
}

interface Answer {
  readonly code: number;
  readonly body: string;
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

interface Route {
  readonly methods: readonly string[];
  answer(options: HttpOptions, query: URLSearchParams): Answer | Promise<Answer>;
}

const READ = ['GET', 'HEAD'];

const ROUTES: Readonly<Record<string, Route>> = {
  '/status': {
    methods: READ,
    answer: async ({ status }) => {
      const found = await status();
      return found === undefined ? refusal(503, 'starting') : json(200, found);
    },
  },
  '/health': {
    methods: READ,
    answer: ({ state, config }) => {
      const health = healthOf(state(), config.healthLagMs);
      return json(health.status === 'ok' ? 200 : 503, health);
    },
  },
  '/metrics': {
    methods: READ,
    answer: async ({ metrics, state }) => ({
      code: 200,
      type: metrics.contentType,
      body: await metrics.render(state()),
    }),
  },
  '/backup': {
    methods: ['POST'],
    answer: async ({ backUp }, query) => {
      try {
        const stores = await backUp({ snapshot: query.get('snapshot') === 'true' });
        return stores === undefined ? refusal(503, 'starting') : json(200, { stores });
      } catch (error) {
        if (error instanceof SluiceError) return refusal(409, error.message);
        throw error;
      }
    },
  },
};

/** Serves /status, /health, /metrics, and /backup. SluiceError: `HTTP_LISTEN`. */
export async function startHttp(options: HttpOptions): Promise<HttpServer> {
  const { listen } = options.config;
  if (listen === null) return { address: null, close: async () => undefined };
  const server = createServer(
    { maxHeaderSize: MAX_HEADER_BYTES },
    (request, response) => void serve(options, request, response),
  );
  server.maxConnections = MAX_CONNECTIONS;
  server.requestTimeout = REQUEST_LIMIT_MS;
  server.headersTimeout = REQUEST_LIMIT_MS;
  server.keepAliveTimeout = IDLE_LIMIT_MS;
  await listening(server, listen);
  const bound = server.address();
  return {
    address: { host: listen.host, port: typeof bound === 'object' && bound !== null ? bound.port : listen.port },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function listening(server: Server, address: ListenAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('listening', resolve);
    server.once('error', (cause) => {
      const place = formatListen(address);
      const hint =
        errorCode(cause) === 'EADDRINUSE'
          ? 'Another program has that port: set http.listen to another one, or to off'
          : 'Set http.listen to an address of this machine';
      reject(new SluiceError('HTTP_LISTEN', `cannot listen on ${place} (${errorCode(cause)})`, hint, { cause }));
    });
    server.listen(address.port, address.host);
  });
}

async function serve(options: HttpOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  try {
    write(request, response, await answer(options, request));
  } catch (error) {
    options.log.error({ err: error, path: request.url }, 'HTTP request failed');
    write(request, response, refusal(500, 'internal error'));
  }
}

function answer(options: HttpOptions, request: IncomingMessage): Answer | Promise<Answer> {
  const { token } = options.config;
  if (token !== null && !bearerMatches(request.headers.authorization, token)) {
    return { ...refusal(401, 'a bearer token is needed'), headers: { 'www-authenticate': 'Bearer' } };
  }
  const [path = '/', query = ''] = (request.url ?? '/').split('?', 2);
  const route = Object.hasOwn(ROUTES, path) ? ROUTES[path] : undefined;
  if (route === undefined) return refusal(404, `no such page; there are ${Object.keys(ROUTES).join(', ')}`);
  if (!route.methods.includes(request.method ?? '')) {
    return { ...refusal(405, `only ${route.methods.join(' and ')}`), headers: { allow: route.methods.join(', ') } };
  }
  return route.answer(options, new URLSearchParams(query));
}

function json(code: number, value: object): Answer {
  return { code, body: `${JSON.stringify(value)}\n` };
}

function refusal(code: number, error: string): Answer {
  return json(code, { error });
}

function write(request: IncomingMessage, response: ServerResponse, answer: Answer): void {
  if (response.headersSent) return;
  response.writeHead(answer.code, {
    'content-type': answer.type ?? 'application/json; charset=utf-8',
    'content-length': Buffer.byteLength(answer.body),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...answer.headers,
  });
  response.end(request.method === 'HEAD' ? undefined : answer.body);
}
