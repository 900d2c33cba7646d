import type { Position } from '../ltx/index.js';
import type { DatabaseListener, ReplicatedDatabase } from './types.js';

/** Tells every listener; one that throws does not keep the others from hearing. */
export class DatabaseEvents implements Required<DatabaseListener> {
  private readonly listeners = new Set<DatabaseListener>();

  constructor(private readonly onError: (error: unknown) => void) {}

  subscribe(listener: DatabaseListener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  opened(db: ReplicatedDatabase): void {
    this.each((listener) => listener.opened?.(db));
  }

  transaction(db: ReplicatedDatabase, ltx: Uint8Array | undefined): void {
    this.each((listener) => listener.transaction?.(db, ltx));
  }

  reset(db: ReplicatedDatabase): void {
    this.each((listener) => listener.reset?.(db));
  }

  dropped(name: string, position: Position): void {
    this.each((listener) => listener.dropped?.(name, position));
  }

  private each(tell: (listener: DatabaseListener) => void): void {
    for (const listener of this.listeners) {
      try {
        tell(listener);
      } catch (error) {
        this.onError(error);
      }
    }
  }
}
