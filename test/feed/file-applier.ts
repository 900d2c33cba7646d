import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Applier, Looked, LtxLocation } from '../../src/apply/index.js';
import { SluiceError } from '../../src/errors.js';
import { bytesSource, LtxReader } from '../../src/ltx/index.js';

/** Writes the pages to plain files: what the real applier does, without locks and processes. */
export class FileApplier implements Applier {
  readonly pid = 1;
  readonly calls: string[] = [];
  /** Thrown in the place of the next call, which may have been done before: `after`. */
  fault: { readonly error: Error; readonly after: boolean } | undefined;

  constructor(private readonly folder: string) {}

  async start(): Promise<void> {}
  async stop(): Promise<void> {}
  async open(): Promise<void> {}
  async checkpoint(): Promise<number> {
    return 0;
  }

  async look(): Promise<Looked> {
    return { wal: undefined };
  }

  async drop(name: string): Promise<void> {
    this.calls.push(`drop ${name}`);
  }

  apply(name: string, ltx: LtxLocation): Promise<void> {
    return this.write('apply', name, ltx);
  }

  replace(name: string, ltx: LtxLocation): Promise<void> {
    return this.write('replace', name, ltx);
  }

  private async write(call: string, name: string, ltx: LtxLocation): Promise<void> {
    const { fault } = this;
    this.fault = undefined;
    if (fault !== undefined && !fault.after) throw fault.error;
    this.calls.push(`${call} ${name}`);
    const whole = ltx.kind === 'bytes' ? Buffer.from(ltx.bytes) : readFileSync(ltx.path);
    const bytes = ltx.kind === 'bytes' ? whole : whole.subarray(ltx.offset, ltx.offset + ltx.size);
    const reader = new LtxReader(bytesSource(bytes));
    const { pageSize, commit } = reader.header;
    const page = Buffer.alloc(pageSize);
    const fd = openSync(join(this.folder, name), 'a+');
    closeSync(fd);
    const file = openSync(join(this.folder, name), 'r+');
    try {
      for (let pgno = reader.nextPage(page); pgno !== 0; pgno = reader.nextPage(page)) {
        writeSync(file, page, 0, pageSize, (pgno - 1) * pageSize);
      }
      ftruncateSync(file, commit * pageSize);
    } finally {
      closeSync(file);
    }
    if (fault !== undefined) throw fault.error;
  }
}

/** As if the disk were full. */
export function noRoom(): SluiceError {
  return new SluiceError('APPLY_FAILED', 'ENOSPC: no space left on device');
}
