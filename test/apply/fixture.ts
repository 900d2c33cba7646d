import { type ChildProcess, fork } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Applier, createApplier } from '../../src/apply/index.js';
import { SourceDatabase } from './source-database.js';

export interface ReaderResult {
  readonly reads: number;
  readonly refused: number;
  readonly last: number;
  readonly errors: readonly string[];
}

/** A reader in another process, as an application is. */
export class Reader {
  private constructor(private readonly child: ChildProcess) {}

  static async start(
    path: string,
    mode: 'poll' | 'hold' | 'idle',
    access: 'rw' | 'ro' = 'rw',
    timeoutMs = 5000,
  ): Promise<Reader> {
    const script = fileURLToPath(new URL('./reader-process.js', import.meta.url));
    const child = fork(script, [path, mode, access, String(timeoutMs)]);
    await Promise.race([
      new Promise((resolve) => child.once('message', resolve)),
      new Promise((_, reject) => child.once('exit', (code) => reject(new Error(`the reader ended with ${code}`)))),
    ]);
    return new Reader(child);
  }

  async stop(): Promise<ReaderResult> {
    const exited = new Promise((resolve) => this.child.once('exit', resolve));
    const result = new Promise<ReaderResult>((resolve) =>
      this.child.once('message', (m) => resolve(m as ReaderResult)),
    );
    this.child.send('stop');
    const value = await result;
    await exited;
    return value;
  }
}

export interface Fixture {
  readonly applier: Applier;
  /** The plain folder that stands for the mount. */
  readonly mount: string;
  readonly pids: number[];
  readonly restarts: () => number;
  readonly lines: string[];
  path(name: string): string;
  source(name: string, options?: ConstructorParameters<typeof SourceDatabase>[1]): SourceDatabase;
}

/** Runs `use` with an applier on a fresh folder, and tidies up whatever happens. */
export async function withApplier(use: (fixture: Fixture) => Promise<void>, thread = true): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-apply-'));
  const mount = join(folder, 'mount');
  mkdirSync(mount);
  mkdirSync(join(folder, 'source'));
  const pids: number[] = [];
  const lines: string[] = [];
  const line = (o: object, m: string): void => void lines.push(`${m} ${JSON.stringify(o)}`);
  let restarts = 0;
  const applier = createApplier({
    mount,
    onPid: (pid) => void pids.push(pid),
    ...(thread ? { onThread: (tid: number) => void pids.push(tid) } : {}),
    onRestart: () => void restarts++,
    log: { debug: line, info: line, warn: line, error: line },
  });
  const sources: SourceDatabase[] = [];
  try {
    await applier.start();
    await use({
      applier,
      mount,
      pids,
      lines,
      restarts: () => restarts,
      path: (name) => join(mount, name),
      source: (name, options) => {
        const source = new SourceDatabase(join(folder, 'source', name), options);
        sources.push(source);
        return source;
      },
    });
  } finally {
    await applier.stop();
    for (const source of sources) source.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Waits until it is so, at most `limitMs`. */
export async function until(what: string, so: () => boolean, limitMs = 10_000): Promise<void> {
  for (const endMs = Date.now() + limitMs; !so(); ) {
    if (Date.now() > endMs) throw new Error(`did not happen in ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export const bytes = (ltx: Uint8Array): { kind: 'bytes'; bytes: Uint8Array } => ({ kind: 'bytes', bytes: ltx });
