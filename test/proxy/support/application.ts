import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import Database from 'better-sqlite3';

/**
 * An application for the proxy: `node application.js PORT DATABASE`, on one connection to SQLite. What is asked of it is in the path;
 * it tells in `x-node` where it ran, and what it was told in the answers to `/echo`.
 */
const [port, file] = [Number(process.argv[2]), process.argv[3] ?? ''];

let db: Database.Database | undefined;
function database(): Database.Database {
  if (db !== undefined) return db;
  const opened = new Database(file, { timeout: 5000 });
  try {
    opened.pragma('journal_mode = wal');
    opened.exec('CREATE TABLE IF NOT EXISTS kv (k TEXT PRIMARY KEY, v TEXT)');
  } catch {
    // A replica's.
  }
  db = opened;
  return opened;
}

const routes: Record<string, (request: IncomingMessage, response: ServerResponse, query: URLSearchParams) => void> = {
  '/get': (_request, response, query) => {
    const row = database().prepare('SELECT v FROM kv WHERE k = ?').get(query.get('k')) as { v: string } | undefined;
    response.end(row?.v ?? 'none');
  },
  '/set': (request, response, query) => {
    request.resume();
    request.on('end', () => {
      database().prepare('INSERT OR REPLACE INTO kv VALUES (?, ?)').run(query.get('k'), query.get('v'));
      response.end('done');
    });
  },
  '/idle-post': (request, response) => {
    request.resume();
    request.on('end', () => response.end('nothing'));
  },
  '/sum': (request, response) => {
    const hash = createHash('sha256');
    let bytes = 0;
    request.on('data', (chunk: Buffer) => {
      hash.update(chunk);
      bytes += chunk.length;
    });
    request.on('end', () => response.end(`${bytes} ${hash.digest('hex')} ${JSON.stringify(request.trailers)}`));
  },
};

const server = createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://x');
  response.setHeader('x-node', process.argv[4] ?? '');
  const route = routes[pathname];
  if (route === undefined) response.writeHead(404).end('no such page');
  else route(request, response, searchParams);
});
server.on('upgrade', (request, socket) => {
  (socket as Socket).write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nx-path: ${request.url}\r\n\r\n`,
  );
  socket.pipe(socket);
  socket.on('error', () => socket.destroy());
});
server.keepAliveTimeout = 60_000;
server.listen(port, '127.0.0.1', () => process.stdout.write('listening\n'));
