import type { WriteMessage, WritePeer, WriteServer } from '../replication/index.js';
import { DatabaseTurns, type HaltParts } from './database-turns.js';
import { Incoming } from './incoming.js';
import { MAX_DATABASES } from './limits.js';

/** The primary's side of forwarded writes: a replica asks for a database's write lock, sends transactions, gives it back. */
export class HaltDesk implements WriteServer {
  private readonly databases = new Map<string, DatabaseTurns>();
  /** Transactions that are being sent. */
  private readonly incoming = new Map<WritePeer, Map<string, Incoming>>();
  private closed = false;

  constructor(
    private readonly parts: HaltParts,
    /** For transactions that are large. */
    private readonly spool: string,
  ) {}

  receive(peer: WritePeer, message: WriteMessage): boolean {
    const { name, serial } = message;
    if (this.closed) return true;
    const turns = this.turnsOf(name);
    if (turns === undefined) return false;
    if (message.type === 'halt') turns.halt(peer, serial, message.byHand);
    else if (message.type === 'release') turns.release(peer, serial);
    else return this.takePiece(peer, message, turns);
    return true;
  }

  /** The id of the replica that has a database's write lock. */
  writer(name: string): string | undefined {
    return this.databases.get(name)?.writer;
  }

  left(peer: WritePeer): void {
    for (const incoming of this.incoming.get(peer)?.values() ?? []) incoming.remove();
    this.incoming.delete(peer);
    for (const turns of this.databases.values()) turns.left(peer);
  }

  /** Takes nothing any more. */
  close(): void {
    this.closed = true;
    for (const peer of this.incoming.keys()) this.left(peer);
  }

  /** One transaction of a database at a time comes from a replica. */
  private takePiece(
    peer: WritePeer,
    message: Extract<WriteMessage, { type: 'forward' | 'forward-chunk' }>,
    turns: DatabaseTurns,
  ): boolean {
    const { name, serial, bytes, type } = message;
    const of = this.incoming.get(peer) ?? new Map<string, Incoming>();
    this.incoming.set(peer, of);
    const begun = of.get(name);
    // The replica has given up what it had begun to send.
    if (begun !== undefined && begun.serial !== serial) begun.remove();
    const incoming = begun?.serial === serial ? begun : new Incoming(this.spool, serial);
    of.set(name, incoming);
    try {
      incoming.add(bytes);
    } catch (error) {
      incoming.remove();
      of.delete(name);
      this.parts.log.warn(
        { database: name, replica: peer.nodeId, err: error },
        'a transaction of a replica cannot be kept',
      );
      return false;
    }
    if (type === 'forward') {
      of.delete(name);
      turns.commit(peer, serial, incoming);
    }
    return true;
  }

  private turnsOf(name: string): DatabaseTurns | undefined {
    let turns = this.databases.get(name);
    if (turns !== undefined) return turns;
    if (this.databases.size >= MAX_DATABASES) {
      for (const [other, idle] of this.databases) if (idle.isIdle) this.databases.delete(other);
      if (this.databases.size >= MAX_DATABASES) return undefined;
    }
    turns = new DatabaseTurns(name, this.parts);
    this.databases.set(name, turns);
    return turns;
  }
}
