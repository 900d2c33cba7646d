import { connect, type Socket } from 'node:net';
import { LINK_RETRY_MAX_MS, LINK_RETRY_MS, MAX_SETTLES } from './limits.js';
import { readLines } from './line-reader.js';
import type { FromNode, ToNode } from './link-messages.js';
import type { NodeView } from './node-view.js';
import type { ProxyCounts } from './proxy-counts.js';
import { SOCKET_NAME, SocketFolder } from './socket-path.js';

interface Settle {
  readonly id: number;
  readonly done: (complete: boolean) => void;
  sent: boolean;
}

/** The proxy's connection to its node, made again and again: nodes come and go while a proxy stays. */
export class NodeLink {
  readonly #folder: SocketFolder;
  #socket: Socket | undefined;
  #retry: NodeJS.Timeout | undefined;
  #retryMs = LINK_RETRY_MS;
  #closed = false;
  #ids = 0;
  readonly #settles = new Map<number, Settle>();

  constructor(
    runFolder: string,
    private readonly view: NodeView,
    private readonly databases: readonly string[] | null,
  ) {
    this.#folder = new SocketFolder(runFolder);
  }

  start(): void {
    this.#connect();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#socket?.destroy();
    this.#folder.close();
    for (const { done } of [...this.#settles.values()]) done(false);
  }

  /**
   * Resolves with whether the view now has all that was committed before the call; false also if no node says so in time. Where
   * the node dies meanwhile the next one is asked.
   */
  settle(limitMs: number): Promise<boolean> {
    if (this.#settles.size >= MAX_SETTLES) return Promise.resolve(false);
    return new Promise((resolve) => {
      const id = ++this.#ids;
      const timer = setTimeout(() => settle.done(false), limitMs);
      const settle: Settle = {
        id,
        sent: false,
        done: (complete) => {
          clearTimeout(timer);
          this.#settles.delete(id);
          resolve(complete);
        },
      };
      this.#settles.set(id, settle);
      this.#ask(settle);
    });
  }

  counts(counts: ProxyCounts): void {
    this.#send({ kind: 'counts', counts });
  }

  #ask(settle: Settle): void {
    if (!this.view.linked) return;
    settle.sent = true;
    this.#send({ kind: 'settle', id: settle.id, databases: this.databases });
  }

  #send(message: ToNode): void {
    if (this.#socket?.writable === true) this.#socket.write(`${JSON.stringify(message)}\n`);
  }

  #connect(): void {
    if (this.#closed) return;
    let path: string;
    try {
      path = this.#folder.pathOf(SOCKET_NAME);
    } catch {
      // No folder yet: a node makes it.
      this.#again();
      return;
    }
    const socket = connect(path);
    this.#socket = socket;
    socket.on('connect', () => {
      this.#retryMs = LINK_RETRY_MS;
      this.view.began();
    });
    readLines(socket, (message) => this.#heard(message as FromNode));
    // Its close says it all.
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#socket = undefined;
      this.view.ended();
      for (const settle of this.#settles.values()) settle.sent = false;
      this.#again();
    });
  }

  #again(): void {
    if (this.#closed) return;
    this.#retry = setTimeout(() => this.#connect(), this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, LINK_RETRY_MAX_MS);
  }

  #heard(message: FromNode): void {
    if (message.kind === 'settled') {
      this.#settles.get(message.id)?.done(message.complete);
      return;
    }
    this.view.heard(message);
    if (message.kind !== 'whole') return;
    for (const settle of this.#settles.values()) if (!settle.sent) this.#ask(settle);
  }
}
