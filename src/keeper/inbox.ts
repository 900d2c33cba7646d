import { SluiceError } from '../errors.js';
import type { ToNode } from './messages.js';

type Kind = ToNode['kind'];

/** What the keeper has said to this process, by kind; each kind comes at most once. */
export class Inbox {
  /** Resolves when the keeper is gone. */
  readonly closed: Promise<void>;
  #isClosed = false;
  readonly #heard = new Map<Kind, ToNode>();
  readonly #waiting = new Map<Kind, (message: ToNode) => void>();

  constructor() {
    process.on('message', (value) => {
      const message = value as ToNode;
      this.#heard.set(message.kind, message);
      this.#waiting.get(message.kind)?.(message);
    });
    this.closed = new Promise((resolve) => {
      process.once('disconnect', () => {
        this.#isClosed = true;
        resolve();
      });
    });
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** As `expect`, where a keeper that is gone leaves nothing to do; throws `KEEPER_GONE`. */
  async require<K extends Kind>(kind: K): Promise<Extract<ToNode, { kind: K }>> {
    const message = await Promise.race([this.expect(kind), this.closed]);
    if (message !== undefined) return message;
    throw new SluiceError('KEEPER_GONE', 'the keeper of this node died before the node served');
  }

  /** The message of that kind, also if it came before; waits for it otherwise. */
  expect<K extends Kind>(kind: K): Promise<Extract<ToNode, { kind: K }>> {
    return new Promise((resolve) => {
      const take = (message: ToNode) => resolve(message as Extract<ToNode, { kind: K }>);
      const heard = this.#heard.get(kind);
      if (heard === undefined) this.#waiting.set(kind, take);
      else take(heard);
    });
  }
}
