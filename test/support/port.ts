import { createServer } from 'node:net';

/** Below the range that the kernel takes ports of outgoing connections from, so that none takes one between its choice and its use. */
const FIRST_PORT = 12_000;
const PORTS = 20_000;
const MAX_TRIES = 50;

/** A port on loopback that nobody listens on, chosen at random: tests may run side by side. */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const port = FIRST_PORT + Math.floor(Math.random() * PORTS);
    if (await isFree(port)) return port;
  }
  throw new Error(`no free port from ${FIRST_PORT} on in ${MAX_TRIES} tries`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
