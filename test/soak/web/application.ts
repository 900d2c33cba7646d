import { createServer } from 'node:http';
import Sqlite from 'better-sqlite3';

/**
 * A web application on one node: `application.js PORT DATABASE NODE`. POST /N/V sets the counter N to V, GET /N reads it; in
 * `x-node` it says where it ran. What SQLite refuses is a 500.
 */
const [port, file = '', node = ''] = process.argv.slice(2);
const BUSY_MS = 3000;
const db = new Sqlite(file, { timeout: BUSY_MS });
const set = db.prepare(
  'INSERT INTO counters (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value',
);
const get = db.prepare('SELECT value FROM counters WHERE name = ?').pluck();

const server = createServer((request, response) => {
  const [, name, value] = (request.url ?? '').split('/');
  response.setHeader('x-node', node);
  request.resume().once('end', () => {
    try {
      if (request.method === 'POST') set.run(name, Number(value));
      response.end(String(get.get(name) ?? 0));
    } catch (error) {
      response.writeHead(500).end((error as { code?: string }).code ?? String(error));
    }
  });
});
server.keepAliveTimeout = 60_000;
server.listen(Number(port), '127.0.0.1', () => process.stdout.write('listening\n'));
