import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DataFolder } from '../../../src/database/data-folder.js';
import type { Database } from '../../../src/database/database.js';
import type { Recovered } from '../../../src/database/recovery.js';
import { ReplicaDatabases } from '../../../src/database/replica-sink.js';
import { SharedState } from '../../../src/database/shared.js';
import { DirectApplier } from './direct-applier.js';
import { SLOTS } from './verdict.js';

/** A replica without a mount and without a primary: its databases on a data folder, and an applier that works there. */
export class ReplicaBench {
  readonly folder: DataFolder;
  readonly sink: ReplicaDatabases;
  readonly warnings: string[] = [];
  readonly applier: DirectApplier;
  outcomes: readonly Recovered[] = [];
  private closed = false;

  constructor(
    readonly root: string,
    mountPath: string,
  ) {
    this.folder = new DataFolder(root);
    mkdirSync(this.folder.spool, { recursive: true });
    this.applier = new DirectApplier(this.folder.files);
    this.sink = new ReplicaDatabases({
      folder: this.folder,
      mountPath,
      shared: new SharedState({ slots: SLOTS }),
      maxDatabases: SLOTS,
      applier: this.applier,
      send: () => undefined,
      onApplied: () => undefined,
      warn: (name, text, error) => this.warnings.push(`${name}: ${text}: ${String(error)}`),
    });
  }

  /** As before the mount answers. */
  async recover(): Promise<void> {
    this.outcomes = await this.sink.recover(false);
  }

  database(name: string): Database | undefined {
    return this.sink.every().find((each) => each.name === name);
  }

  backing(name: string): string {
    return join(this.folder.files, name);
  }

  saveClean(): void {
    this.sink.saveClean();
  }

  /** Leaves its files as they are; the applier has them open. */
  close(): void {
    if (!this.closed) this.sink.close();
    this.closed = true;
  }

  /** Ends it, and with it all its databases. */
  async discard(): Promise<void> {
    this.close();
    await this.applier.discard();
  }
}
