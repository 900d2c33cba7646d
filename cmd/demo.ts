import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { DemoNode } from './demo-node.js';
import { fail } from './failure.js';

/**
 * What `npm start` runs: a primary and a replica on this machine, and a backup to a folder, all in ./data. Runs until
 * Ctrl-C, and goes on where it was the next time.
 */

const DATA = resolve('data');
/** For a machine on which the usual ports are taken. */
const PORT = Number(process.env.SLUICE_DEMO_PORT || 20202);
const PRIMARY_HTTP = `127.0.0.1:${PORT}`;
const STREAM = `127.0.0.1:${PORT + 1}`;
const REPLICA_HTTP = `127.0.0.1:${PORT + 10}`;
/** npm passes a Ctrl-C on that the terminal has sent already: what follows so soon is the same one. */
const SAME_SIGNAL_MS = 1_000;

/** Only the driver of root sees the locks of applications. */
const WRITES = process.getuid?.() === 0;

const PRIMARY_CONFIG = `# Written by npm start.
data: primary
http: { listen: "${PRIMARY_HTTP}" }
replication: { listen: "${STREAM}" }
backup: { url: ./backup }
log: { level: warn }
`;

const REPLICA_CONFIG = `# Written by npm start.
data: replica
http: { listen: "${REPLICA_HTTP}" }
lease: { role: replica, primary: "ws://${STREAM}" }
replication: { listen: "off" }
${WRITES ? 'mount: { locks: sluice }\n' : ''}log: { level: warn }
`;

async function main(): Promise<void> {
  mkdirSync(DATA, { recursive: true });
  const primary = start('primary', PRIMARY_CONFIG, PRIMARY_HTTP);
  const replica = start('replica', REPLICA_CONFIG, REPLICA_HTTP);
  const nodes = [primary, replica];
  const asked = stopAsked(nodes);
  const unexpected = Promise.race(nodes.map((node) => node.ended));
  const ready = Promise.all(nodes.map((node) => node.ready())).then(() => true);
  if (await Promise.race([ready, asked, unexpected.then(() => false)])) {
    console.log(welcome(primary.mount, replica.mount));
    await Promise.race([asked, unexpected]);
  }
  // The replica first: it would only report that its primary went away.
  const code = Math.max(await replica.stop(), await primary.stop());
  console.log(code === 0 ? 'Stopped. npm start goes on where it was.' : 'Stopped, but not cleanly: see above.');
  process.exitCode = code;
}

function start(name: string, config: string, http: string): DemoNode {
  const file = join(DATA, `${name}.yml`);
  writeFileSync(file, config);
  return new DemoNode(name, file, join(DATA, name, 'mnt'), `http://${http}`);
}

/** Resolves false at the first Ctrl-C; a later one hurries the nodes. */
function stopAsked(nodes: readonly DemoNode[]): Promise<false> {
  return new Promise((resolve) => {
    let lastMs = 0;
    const signalled = () => {
      const again = lastMs !== 0;
      if (again && performance.now() - lastMs < SAME_SIGNAL_MS) return;
      lastMs = performance.now();
      if (again) for (const node of nodes) node.hurry();
      else console.log('\nStopping (Ctrl-C again does not wait for applications that use the mounts) …');
      resolve(false);
    };
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, signalled);
  });
}

function welcome(primary: string, replica: string): string {
  const backup = join(DATA, 'backup');
  return `
Sluice is running.

  primary   ${primary}   (read and write)
  replica   ${replica}   (${WRITES ? 'read; writes go to the primary' : 'read'})
  backup    ${backup}
  status    http://${PRIMARY_HTTP}/status and http://${REPLICA_HTTP}/status

In another terminal, here:

  sqlite3 data/primary/mnt/app.db "PRAGMA journal_mode = wal; CREATE TABLE IF NOT EXISTS t (x); INSERT INTO t VALUES (datetime())"
  sqlite3 data/replica/mnt/app.db "SELECT * FROM t"
${WRITES ? `  sqlite3 data/replica/mnt/app.db "INSERT INTO t VALUES ('from the replica')"\n` : ''}  cat data/replica/mnt/app.db-pos
  node dist/cmd/sluice.js status -c data/primary.yml
  node dist/cmd/sluice.js restore -o /tmp/restored.db file://./data/backup/app.db

Ctrl-C stops both nodes.
`;
}

main().catch(fail);
