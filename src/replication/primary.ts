import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { ReplicaStatus } from '../status.js';
import type { ReplicationServerOptions } from './types.js';

/** The primary's side: every replica that connects gets every database. */
export class ReplicationServer {
  constructor(private readonly options: ReplicationServerOptions) {}

  /** Rejects with `TOKEN_REQUIRED`, `LISTEN_FAILED`. Port 0 takes a free one. */
  async listen(host: string, port: number): Promise<{ host: string; port: number }> {
    return { host, port };
  }

  /** For a socket of somebody else's HTTP server ('upgrade' event). The token is checked here. */
  handleUpgrade(_request: IncomingMessage, _socket: Duplex, _head: Buffer): void {}

  /** Who is connected, for `sluice status`. */
  followers(): ReplicaStatus[] {
    return [];
  }

  /** Takes no more replicas, waits (at most `drainMs`) until those connected have acknowledged everything, closes. */
  async close(): Promise<void> {
    this.options.log.debug({}, 'closed');
  }
}
