import type { LtxLocation } from '../apply/index.js';
import type { Claim, FromWorker, LocalWrites } from '../database/index.js';
import type { Position } from '../ltx/index.js';
import type { WriteAnswer, WriteClient, WriteSender } from '../replication/index.js';
import { DatabaseWrites } from './database-writes.js';
import { WRITES_OFF, type WriteParts } from './write-parts.js';

const DRAIN_POLL_MS = 5;

/** The replica's side of forwarded writes: between what applications do, the primary, and the databases. */
export class WriteDesk implements WriteClient, LocalWrites {
  private readonly databases = new Map<string, DatabaseWrites>();
  private readonly parts: WriteParts;
  private sender: WriteSender | undefined;
  private serials = 0;
  private heardMs = 0;
  /** Since when the primary says that it takes no writes, and how. */
  private off: { readonly sinceMs: number; readonly text: string } | undefined;

  constructor(parts: Omit<WriteParts, 'sender' | 'heardMs' | 'serial'>) {
    this.parts = { ...parts, sender: () => this.sender, heardMs: () => this.heardMs, serial: () => ++this.serials };
  }

  /** False for what is not about writes. */
  onWorker(message: FromWorker): boolean {
    switch (message.kind) {
      case 'lock-wanted':
      case 'lock-released':
      case 'commit':
      case 'commit-made':
      case 'played-back':
      case 'grant-returned':
      case 'hand-wanted':
      case 'hand-taken':
      case 'hand-released':
        this.of(message.name).onWorker(message);
        return true;
      default:
        return false;
    }
  }

  connected(sender: WriteSender): void {
    this.sender = sender;
    for (const database of this.databases.values()) database.connected();
  }

  disconnected(): void {
    this.sender = undefined;
    this.off = undefined;
    for (const database of this.databases.values()) database.disconnected();
  }

  receive(message: WriteAnswer): void {
    if (message.type === 'halted') this.off = undefined;
    if (message.type === 'halt-ended' && message.code === WRITES_OFF && this.off === undefined) {
      this.off = { sinceMs: Date.now(), text: message.text };
      this.parts.log.warn({ code: WRITES_OFF }, `applications here find their databases locked: ${message.text}`);
    }
    this.of(message.name).onAnswer(message);
  }

  /** Applications wrote, and cannot, for as long as the primary is as it is. */
  get refusal():
    | { readonly code: string; readonly message: string; readonly hint: string; readonly sinceMs: number }
    | undefined {
    if (this.off === undefined) return undefined;
    const { sinceMs, text } = this.off;
    const hint = 'Remove writes.forward: false from its config; or use mount.locks: kernel here, then it is read-only';
    return { code: WRITES_OFF, message: `applications find their databases locked: ${text}`, hint, sinceMs };
  }

  heard(sentMs: number): void {
    this.heardMs = sentMs;
    for (const database of this.databases.values()) database.heard(sentMs);
  }

  pendingAt(name: string, position: Position): LtxLocation | undefined {
    return this.databases.get(name)?.commit.pendingAt(position);
  }

  arrived(name: string, position: Position): void {
    this.databases.get(name)?.commit.arrived(position);
  }

  claim(name: string, position: Position): Claim | undefined {
    return this.databases.get(name)?.commit.claim(position);
  }

  applying(name: string, isApplying: boolean): void {
    this.databases.get(name)?.setApplying(isApplying);
  }

  moved(name: string): void {
    this.databases.get(name)?.moved();
  }

  /** Resolves when no commit waits for the primary, or the time is over. */
  async drain(limitMs: number): Promise<void> {
    const untilMs = performance.now() + limitMs;
    const isCommitting = () => [...this.databases.values()].some(({ commit }) => commit.isUnderWay);
    while (isCommitting() && performance.now() < untilMs)
      await new Promise((resolve) => setTimeout(resolve, DRAIN_POLL_MS));
  }

  close(): void {
    for (const database of this.databases.values()) database.close();
  }

  private of(name: string): DatabaseWrites {
    let database = this.databases.get(name);
    if (database === undefined) {
      for (const [other, idle] of this.databases) if (idle.isIdle) this.databases.delete(other);
      database = new DatabaseWrites(name, this.parts);
      this.databases.set(name, database);
    }
    return database;
  }
}
