import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { NodeStatus } from '../../src/status.js';
import { cleanUp, freePort, freshFolder, waitFor } from '../support/cluster.js';
import { listing, mountsIn, unmountAll } from './nodes.js';
import { Program, run } from './programs.js';

/** `npm start` in a clone, as a new user does it. */

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const LIMIT_MS = 120_000;
const NOT_CLONED = new Set(['.git', 'node_modules', 'dist', 'data']);
/** The demonstration has ports from this one: HTTP and streams of the primary, and ten higher HTTP of the replica. */
const PORT_OFFSETS = [0, 1, 10];

/** The command line of SQLite, which a machine need not have. */
const SQLITE3 = `#!${process.execPath}
const Database = require(${JSON.stringify(createRequire(import.meta.url).resolve('better-sqlite3'))});
const [path, sql] = process.argv.slice(2);
const db = new Database(path, { readonly: sql.startsWith('SELECT') });
if (sql.startsWith('SELECT')) for (const row of db.prepare(sql).raw().iterate()) console.log(row.join('|'));
else db.exec(sql);
`;

class Clone {
  readonly folder = freshFolder('demo');
  readonly tree = join(this.folder, 'clone');
  readonly #env: Record<string, string>;

  constructor(port: number) {
    cpSync(ROOT, this.tree, {
      recursive: true,
      filter: (path) => !NOT_CLONED.has(path.slice(ROOT.length).split('/')[0] ?? ''),
    });
    symlinkSync(join(ROOT, 'node_modules'), join(this.tree, 'node_modules'));
    for (const name of ['home', 'tmp', 'bin']) mkdirSync(join(this.folder, name));
    writeFileSync(join(this.folder, 'bin/sqlite3'), SQLITE3, { mode: 0o755 });
    this.#env = {
      HOME: join(this.folder, 'home'),
      TMPDIR: join(this.folder, 'tmp'),
      PATH: `${join(this.folder, 'bin')}:${process.env.PATH}`,
      SLUICE_DEMO_PORT: `${port}`,
      // What npm writes on its own account.
      npm_config_cache: join(this.folder, 'npm-cache'),
      npm_config_update_notifier: 'false',
      NODE_DISABLE_COMPILE_CACHE: '1',
    };
  }

  #program: Program | undefined;

  /** Starts it, and waits until it says what to do next. */
  async start(): Promise<Program> {
    const program = new Program('npm', ['start'], { cwd: this.tree, env: this.#env });
    this.#program = program;
    await waitFor(
      () => {
        assert.ok(program.alive, program.output);
        return program.output.includes('Ctrl-C stops');
      },
      LIMIT_MS,
      () => program.output,
    );
    return program;
  }

  /** Whatever became of it. */
  remove(): void {
    this.#program?.kill();
    unmountAll(this.folder);
  }

  /** Types a line that `npm start` printed, but for where it restores to. */
  async type(line: string): Promise<string> {
    return run('/bin/sh', ['-c', line.replaceAll('/tmp/restored.db', join(this.folder, 'tmp/restored.db'))], {
      cwd: this.tree,
      env: this.#env,
    });
  }

  status(line: string): Promise<NodeStatus> {
    return this.type(`${line} --json`).then((text) => JSON.parse(text) as NodeStatus);
  }

  /** All files, but for those of the demonstration's own folder, and of the build. */
  files(): string[] {
    const own = [join(this.tree, 'data'), join(this.tree, 'dist'), join(this.folder, 'npm-cache')];
    return listing(this.folder).filter(
      (path) => !own.some((folder) => path === folder || path.startsWith(`${folder}/`)),
    );
  }

  /** What is left of it: mounts, and processes with its folder in their command line or environment. */
  leftovers(): string[] {
    const processes = readdirSync('/proc').filter(
      (pid) =>
        /^\d+$/.test(pid) && ['cmdline', 'environ'].some((name) => read(`/proc/${pid}/${name}`).includes(this.folder)),
    );
    return [...mountsIn(this.folder), ...processes.map((pid) => read(`/proc/${pid}/cmdline`))];
  }
}

/** A first port from which all that the demonstration wants are free. */
async function demoPort(): Promise<number> {
  for (let i = 0; i < 20; i++) {
    const port = await freePort();
    if (port + Math.max(...PORT_OFFSETS) < 65_536) return port;
  }
  throw new Error('no ports');
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** The lines to type, by their beginnings. */
function printed(output: string, beginning: string): string {
  const line = output.split('\n').find((text) => text.trim().startsWith(beginning));
  assert.ok(line, `npm start prints a line with ${beginning}\n${output}`);
  return line.trim();
}

test('npm start comes up, works as it says, stops, and goes on', async () => {
  const clone = new Clone(await demoPort());
  try {
    await demonstrate(clone);
  } finally {
    clone.remove();
  }
});

async function demonstrate(clone: Clone): Promise<void> {
  const before = clone.files();
  let txid = 0;
  for (const life of [1, 2]) {
    const program = await clone.start();
    const { output } = program;
    const select = printed(output, 'sqlite3 data/replica');
    const status = printed(output, 'node dist/cmd/sluice.js status');
    await clone.type(printed(output, 'sqlite3 data/primary'));
    await waitFor(async () => (await clone.type(select).catch(() => '')).split('\n').length === life + 1, LIMIT_MS);
    const position = await clone.type(printed(output, 'cat data/replica'));
    const now = (await clone.status(status)).databases[0]!;
    assert.is(position.trim(), `${now.txid}/${now.checksum}`);
    assert.ok(Number.parseInt(now.txid, 16) > txid, `TXIDs go on: ${now.txid} after ${txid}`);
    txid = Number.parseInt(now.txid, 16);
    await waitFor(
      async () => (await clone.status(status)).backups[0]?.databases[0]?.txid === now.txid,
      LIMIT_MS,
      'the backup',
    );
    await clone.type(printed(output, 'node dist/cmd/sluice.js restore'));
    const restored = join(clone.folder, 'tmp/restored.db');
    assert.is((await clone.type('sqlite3 /tmp/restored.db "SELECT count(*) FROM t"')).trim(), `${life}`);
    for (const suffix of ['', '-wal', '-shm']) rmSync(restored + suffix, { force: true });

    // npm ends itself by the signal that it was sent.
    const end = await program.stop('SIGINT', LIMIT_MS);
    assert.ok(end === 0 || end === 'SIGINT', `it ends with ${end}`);
    assert.match(program.output, 'Stopped. npm start goes on');
    assert.equal(clone.leftovers(), []);
    assert.equal(clone.files(), before, 'nothing is written outside the data folder');
    assert.ok(existsSync(join(clone.tree, 'data/backup')));
  }
}

test.after(cleanUp);
test.run();
