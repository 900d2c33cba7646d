import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { cleanUp, freePort, freshFolder, waitFor } from '../support/cluster.js';
import { requireShell, requireTool } from '../tools.js';
import { unmountAll } from './nodes.js';
import { Program, run } from './programs.js';

/** The commands of docs/restore.md, as they stand there, in other folders. */

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const SLUICE = fileURLToPath(new URL('../../cmd/sluice.js', import.meta.url));
const DOCUMENT = readFileSync(join(ROOT, 'docs/restore.md'), 'utf8');
const START_LIMIT_MS = 60_000;
const TIME_OF_THE_DOCUMENT = '2026-03-01T14:02:59Z';

/** The blocks of one language below a heading. */
function blocks(heading: string, language: string): string[] {
  const section = DOCUMENT.split(/^(?=## )/m).find((text) => text.startsWith(`## ${heading}\n`));
  assert.ok(section, `docs/restore.md has no section ${heading}`);
  const found = [...section.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'gms'))].map((match) => match[1]!);
  assert.ok(found.length > 0, `${heading} has no commands`);
  return found;
}

/** Where the folders of the document are here. */
const FOLDERS: Readonly<Record<string, (folder: string) => string>> = {
  'etc/sluice': (folder) => join(folder, 'etc'),
  'srv/app': (folder) => join(folder, 'srv'),
  'var/backups': (folder) => join(folder, 'backups'),
  tmp: (folder) => join(folder, 'tmp'),
};

class Machine {
  readonly folder = freshFolder('runbook');
  private node: Program | undefined;

  constructor(readonly tools: readonly string[]) {}

  path(documented: string): string {
    return documented.replaceAll(/\/(etc\/sluice|srv\/app|var\/backups|tmp)(?=\/|$)/gm, (_, place: string) =>
      FOLDERS[place]!(this.folder),
    );
  }

  async setUp(): Promise<void> {
    for (const name of ['etc', 'srv', 'backups', 'tmp', 'bin']) mkdirSync(join(this.folder, name));
    writeFileSync(join(this.folder, 'bin/sluice'), `#!/bin/sh\nexec '${process.execPath}' '${SLUICE}' "$@"\n`, {
      mode: 0o755,
    });
    await this.configure();
  }

  /** As the document has it, and ports of its own. */
  async configure(): Promise<void> {
    const documented = /^```yaml\n(# \/etc\/sluice\/sluice\.yml\n.*?)^```$/ms.exec(DOCUMENT)?.[1];
    assert.ok(documented);
    const ports = [await freePort(), await freePort()];
    const more = `http: { listen: "127.0.0.1:${ports[0]}" }\nreplication: { listen: "127.0.0.1:${ports[1]}" }\n`;
    writeFileSync(join(this.folder, 'etc/sluice.yml'), this.path(documented) + more);
  }

  /** Runs commands of the document; their output. Any that fails is an error. */
  run(commands: string, time = ''): Promise<string> {
    const text = this.path(commands.replaceAll(TIME_OF_THE_DOCUMENT, time));
    return run('bash', ['-euo', 'pipefail', '-c', text], { env: this.env(), cwd: join(this.folder, 'tmp') });
  }

  async start(): Promise<void> {
    const config = join(this.folder, 'etc/sluice.yml');
    this.node = new Program(process.execPath, [SLUICE, 'mount', '-c', config], { env: this.env() });
    const node = this.node;
    await waitFor(
      () => node.output.includes('ready') || !node.alive,
      START_LIMIT_MS,
      () => `the node is not ready:\n${node.output}`,
    );
  }

  async stop(): Promise<void> {
    await this.node?.stop();
    unmountAll(this.folder);
  }

  query(documented: string, sql: string): unknown {
    const db = new Database(this.path(documented), { readonly: true });
    try {
      return db.prepare(sql).pluck().get();
    } finally {
      db.close();
    }
  }

  private env(): Record<string, string> {
    return { PATH: [join(this.folder, 'bin'), ...this.tools, process.env.PATH].join(':') };
  }
}

const COUNT = 'select count(*) from orders';

test('the runbook', async () => {
  const litestream = requireTool('litestream');
  if (litestream === undefined || requireShell() === undefined) return;
  const machine = new Machine([join(litestream, '..')]);
  try {
    await runAll(machine);
  } finally {
    await machine.stop();
  }
});

async function runAll(machine: Machine): Promise<void> {
  await machine.setUp();
  await machine.start();
  const app = 'sqlite3 -cmd ".timeout 10000" /srv/app/mnt/app.db';
  await machine.run(`${app} "create table orders(id integer primary key, x); create table other(x)"`);
  await machine.run(`${app} "insert into orders(x) values (1), (2), (3)"`);
  await sleep(1500);
  const before = new Date().toISOString();
  await sleep(1500);
  await machine.run(`${app} "drop table orders; insert into other values (1)"`);
  await machine.run('sluice backup now -c /etc/sluice/sluice.yml');

  const [look, bringBack, restoreAll] = blocks('Someone dropped a table at 14:03', 'sh');
  assert.match(await machine.run(look!, before), /the newest state at or before that time is of (?:.|\n)*\n3\n$/);
  await machine.run(bringBack!);
  assert.is(machine.query('/srv/app/mnt/app.db', COUNT), 3);
  assert.is(machine.query('/srv/app/mnt/app.db', 'select count(*) from other'), 1);
  await machine.run(restoreAll!);
  assert.is(machine.query('/srv/app/mnt/app.db', COUNT), 3);
  assert.is(machine.query('/srv/app/mnt/app.db', 'select count(*) from other'), 0);
  await machine.run(`${app} "insert into orders(x) values (4)"`);

  const [storeAll, toLitestream] = blocks('Move to Litestream', 'sh');
  await machine.run(storeAll!);
  for (const commands of blocks('Prove that the backup works', 'sh')) {
    assert.match(await machine.run(commands), /every checksum is right(?:.|\n)*SQLite finds it whole/);
  }
  await machine.stop();
  rmSync(join(machine.folder, 'srv'), { recursive: true });

  const [newMachine, onlyFile] = blocks('The machine is gone', 'sh');
  assert.match(await machine.run(newMachine!), /^4$/m);
  await machine.run(onlyFile!);
  assert.is(machine.query('/tmp/app.db', COUNT), 4);

  assert.match(await machine.run(toLitestream!), /^ok$/m);
  assert.is(machine.query('/tmp/to-litestream.db', COUNT), 4);

  // What Litestream has stored meanwhile is moved back, to a machine where nothing is yet.
  rmSync(join(machine.folder, 'srv'), { recursive: true });
  rmSync(join(machine.folder, 'backups/app'), { recursive: true });
  execFileSync('mv', [join(machine.folder, 'backups/litestream-next'), join(machine.folder, 'backups/litestream')]);
  for (const commands of blocks('Move from Litestream', 'sh')) await machine.run(commands);
  await machine.run('sluice restore -o /tmp/moved.db file:///var/backups/app/app.db');
  assert.is(machine.query('/tmp/moved.db', COUNT), 4);
}

test.after(() => cleanUp());

test.run();
