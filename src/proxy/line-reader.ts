import type { Socket } from 'node:net';
import { MAX_LINE_BYTES } from './limits.js';

/** Calls `onLine` with each JSON line of a socket; one that is too long, or no JSON, ends it. */
export function readLines(socket: Socket, onLine: (value: unknown) => void): void {
  let rest = '';
  socket.setEncoding('utf8');
  socket.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop()!;
    if (rest.length > MAX_LINE_BYTES) socket.destroy(new Error('a line is too long'));
    for (const line of lines) {
      if (socket.destroyed) return;
      try {
        onLine(JSON.parse(line));
      } catch (error) {
        socket.destroy(error instanceof Error ? error : new Error(String(error)));
      }
    }
  });
}
