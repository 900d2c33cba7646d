import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import type { FileNode } from '../../../src/fuse/index.js';

/** A file as the file system tells a watcher of it, open once and for writing; made if it is not there. */
export class FakeFile implements FileNode {
  readonly id = 1;
  handles = 1;
  writers = 1;
  inherited = false;
  orphan = false;
  passed = false;
  tag: unknown;
  private readonly descriptor: number;

  constructor(
    public path: string,
    folder: string,
  ) {
    closeSync(openSync(join(folder, path), 'a+'));
    this.descriptor = openSync(join(folder, path), 'r+');
  }

  fd(): number {
    return this.descriptor;
  }

  close(): void {
    closeSync(this.descriptor);
  }
}
