import type { Txid } from '../ltx/index.js';
import { MAX_PAST_LINEAGES } from './limits.js';
import type { FromNode, NodeFacts } from './link-messages.js';
import type { Standing } from './wait-rule.js';

interface Place {
  txid: Txid;
  /** `serial` of the view when it came there. */
  serial: number;
}

/** What a proxy knows of its node: what that has told, also while there is none for a moment. No I/O, no clock. */
export class NodeView implements Standing {
  /** Counts changes of positions. */
  serial = 0;
  asOfMs = 0;
  #facts: NodeFacts | undefined;
  #linked = false;
  #places = new Map<string, Place>();
  /** Of a node that is not done telling where it is. */
  #incoming: Map<string, Txid> | undefined;
  readonly #told = new Map<string, Txid>();
  readonly #past = new Set<string>();
  readonly #databases: ReadonlySet<string> | undefined;
  readonly #listeners = new Set<() => void>();

  constructor(databases: readonly string[] | null) {
    this.#databases = databases === null ? undefined : new Set(databases);
  }

  /** What the node said last; undefined before its first word. */
  get facts(): NodeFacts | undefined {
    return this.#facts;
  }

  /** There is a node, and it has told all. */
  get linked(): boolean {
    return this.#linked;
  }

  get role(): 'primary' | 'replica' {
    return this.#facts?.role ?? 'replica';
  }

  get lineage(): string | null {
    return this.#facts?.lineage ?? null;
  }

  txid(name: string): Txid | undefined {
    return this.#places.get(name)?.txid;
  }

  told(name: string): Txid | undefined {
    return this.#told.get(name);
  }

  isPast(lineage: string): boolean {
    return this.#past.has(lineage);
  }

  covers(name: string): boolean {
    return this.#databases?.has(name) ?? true;
  }

  /** Databases that moved since the view had this serial, and where they are. */
  movedSince(serial: number): Map<string, Txid> {
    const moved = new Map<string, Txid>();
    if (serial === this.serial) return moved;
    for (const [name, place] of this.#places) {
      if (place.serial > serial && this.covers(name)) moved.set(name, place.txid);
    }
    return moved;
  }

  /** A new connection to a node, which tells everything anew. */
  began(): void {
    this.#incoming = new Map();
  }

  ended(): void {
    this.#linked = false;
    this.#incoming = undefined;
    // A new node has to hear it from the primary itself.
    this.asOfMs = 0;
    this.#changed();
  }

  heard(message: FromNode): void {
    switch (message.kind) {
      case 'facts':
        this.#setFacts(message.facts);
        break;
      case 'positions':
        for (const [name, txid] of message.positions) this.#moved(name, txid);
        break;
      case 'told':
        if (message.isNew) this.#told.clear();
        for (const [name, txid] of message.positions) {
          if (txid === 0) this.#told.delete(name);
          else this.#told.set(name, txid);
        }
        this.asOfMs = message.asOfMs;
        break;
      case 'whole':
        this.#whole();
        break;
      case 'settled':
        return;
    }
    this.#changed();
  }

  /** Called after each change. Returns a function that ends it. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #setFacts(facts: NodeFacts): void {
    const before = this.lineage;
    if (before !== null && facts.lineage !== null && before !== facts.lineage) {
      this.#past.add(before);
      for (const oldest of this.#past) {
        if (this.#past.size <= MAX_PAST_LINEAGES) break;
        this.#past.delete(oldest);
      }
    }
    this.#facts = facts;
  }

  #moved(name: string, txid: Txid): void {
    if (this.#incoming !== undefined) this.#incoming.set(name, txid);
    else this.#place(name, txid);
  }

  #place(name: string, txid: Txid): void {
    if (this.#places.get(name)?.txid === txid) return;
    this.serial++;
    if (txid === 0) this.#places.delete(name);
    else this.#places.set(name, { txid, serial: this.serial });
  }

  /** What a new node does not have is gone; where it is the same nothing has moved. */
  #whole(): void {
    const incoming = this.#incoming;
    this.#incoming = undefined;
    this.#linked = true;
    if (incoming === undefined) return;
    for (const name of [...this.#places.keys()]) if (!incoming.has(name)) this.#place(name, 0);
    for (const [name, txid] of incoming) this.#place(name, txid);
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }
}
