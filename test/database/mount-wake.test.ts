import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type ClusterNode, cleanUp, freshFolder, startPrimary, waitFor } from '../support/cluster.js';

const test = suite('commits that wait for the main thread, while the kernel forgets what it knew of the mount');

const CLIENT = fileURLToPath(new URL('./support/insert-on-demand.js', import.meta.url));
/** A commit that was not done by then never will be. */
const LIMIT_MS = 20_000;
const COMMITS = 5;

let primary: ClusterNode | undefined;

test.after.each(async () => {
  await primary?.stop();
  primary = undefined;
});
test.after(cleanUp);

/** A remount drops the dentries and inodes that nobody uses, as a lack of memory does. */
const forget = (): void =>
  assert.is(spawnSync('mount', ['-i', '-o', 'remount', primary!.mount], { timeout: 5000 }).status, 0);

/** The measurement at the start looks the wake file up, many times. */
const measured = (): Promise<void> =>
  waitFor(() => primary?.log.includes('request round trip') === true, LIMIT_MS, 'the round trip to be measured');

/** An application that commits when it is told. */
class Client {
  readonly #child;
  readonly #lines: AsyncIterator<string>;
  #next: Promise<string> | undefined;

  constructor(path: string) {
    this.#child = spawn(process.execPath, [CLIENT, path], { stdio: ['pipe', 'pipe', 'inherit'], cwd: '/' });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  commit(): void {
    this.#child.stdin.write('\n');
  }

  /** Its next line; `hangs` if none has come yet. */
  async line(limitMs = LIMIT_MS): Promise<string> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<'hangs'>((resolve) => {
      timer = setTimeout(() => resolve('hangs'), limitMs);
    });
    this.#next ??= this.#lines.next().then(({ value }) => String(value));
    const first = await Promise.race([this.#next, late]);
    clearTimeout(timer);
    if (first !== 'hangs') this.#next = undefined;
    return first;
  }

  end(): void {
    this.#child.kill('SIGKILL');
  }
}

test('a commit whose journal is unlinked when the kernel has forgotten the wake file', async () => {
  primary = await startPrimary();
  await measured();
  const client = new Client(primary.path('a.db'));
  try {
    assert.is(await client.line(), 'open');
    for (let i = 0; i < COMMITS; i++) {
      forget();
      client.commit();
      assert.is(await client.line(), 'done', `commit ${i}`);
    }
  } finally {
    client.end();
  }
});

test('a commit while programs cannot be started is done when they can', async () => {
  const programs = freshFolder('programs');
  const stat = join(programs, 'stat');
  const path = process.env.PATH;
  process.env.PATH = `${programs}:${path}`;
  writeFileSync(stat, '#!/bin/sh\nexit 1\n');
  chmodSync(stat, 0o755);
  try {
    primary = await startPrimary();
  } finally {
    process.env.PATH = path;
  }
  await measured();
  const client = new Client(primary.path('a.db'));
  try {
    assert.is(await client.line(), 'open');
    forget();
    client.commit();
    assert.is(await client.line(1000), 'hangs', 'nothing can wake the worker');
    rmSync(stat);
    assert.is(await client.line(), 'done');
  } finally {
    client.end();
  }
});

test.run();
