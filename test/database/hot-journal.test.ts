import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { endHotJournal } from '../../src/database/hot-journal.js';
import { JOURNAL_MAGIC } from '../../src/sqlite/index.js';
import { contentChecksum } from '../support/cluster.js';
import { makeDeepFolder } from '../support/deep-folder.js';
import { commitNew, killInCommit, makeOld, superJournalOf, valuesOf } from './support/killed-commit.js';
import { MountBench } from './support/mount-bench.js';

/** A transaction over two databases, whose writer was killed: both are as they were, or as they should be. */
const test = suite('hot journals with a super-journal');
const MAIN = 'a.db';
const ATTACHED = 'tenants/b.db';
const NAMES = [MAIN, ATTACHED];

let folder: string;
let benches: MountBench[] = [];

/** Where the databases stood when their writers named them in the journals; gone when a node starts. */
const mountPath = (): string => join(folder, 'mnt');
const old = (): string => join(folder, 'old');
const killed = (): string => join(folder, 'killed');

test.before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-hot-'));
  mkdirSync(join(mountPath(), 'tenants'), { recursive: true });
  for (const name of NAMES) makeOld(join(mountPath(), name));
  cpSync(mountPath(), old(), { recursive: true });
  await killInCommit(join(mountPath(), MAIN), join(mountPath(), ATTACHED));
  cpSync(mountPath(), killed(), { recursive: true });
  rmSync(mountPath(), { recursive: true });
});
test.after(() => rmSync(folder, { recursive: true, force: true }));
test.after.each(async () => {
  for (const bench of benches) {
    await bench.stop(false);
    bench.remove();
  }
  benches = [];
});

/** A node that had both databases as they were before, and stopped without a word; then files from `from` over them. */
async function crashed(from: string): Promise<MountBench> {
  const bench = new MountBench(undefined, mountPath());
  benches.push(bench);
  cpSync(old(), bench.folder.files, { recursive: true });
  await bench.start();
  await bench.quiet();
  await bench.stop(false);
  cpSync(from, bench.folder.files, { recursive: true });
  return bench;
}

async function startOn({ root }: MountBench, path = mountPath(), live = false): Promise<MountBench> {
  const bench = new MountBench(root, path);
  benches.push(bench);
  await bench.start(live);
  await bench.quiet();
  return bench;
}

function journalsIn(bench: MountBench): string[] {
  return NAMES.filter((name) => existsSync(bench.backing(`${name}-journal`)));
}

function holds(bench: MountBench, value: 'old' | 'new', txid: number): void {
  for (const name of NAMES) {
    assert.is(valuesOf(bench.backing(name)), value, name);
    const content = contentChecksum(bench.backing(name));
    assert.is(bench.position(name), `${txid.toString(16).padStart(16, '0')}/${content}`, name);
  }
  assert.equal(journalsIn(bench), []);
}

/** As `killed`, but a moment later: the super-journal is removed, which is the commit, and the journals are not. */
function committed(): string {
  const path = join(folder, 'committed');
  if (existsSync(path)) return path;
  cpSync(old(), path, { recursive: true });
  commitNew(join(path, MAIN), join(path, ATTACHED));
  for (const name of NAMES) cpSync(join(killed(), `${name}-journal`), join(path, `${name}-journal`));
  return path;
}

test('what was killed is half a transaction, with a super-journal', () => {
  assert.ok(superJournalOf(join(killed(), MAIN)) !== undefined);
  const copy = join(folder, 'without-journal.db');
  cpSync(join(killed(), MAIN), copy);
  assert.is(valuesOf(copy), 'new');
  assert.ok(!existsSync(mountPath()));
});

test('both are rolled back while the super-journal is there, and then it is removed', async () => {
  const bench = await startOn(await crashed(killed()));
  holds(bench, 'old', 1);
  assert.is(superJournalOf(bench.backing(MAIN)), undefined);
});

test('both are committed when the super-journal is gone', async () => {
  const bench = await startOn(await crashed(committed()));
  holds(bench, 'new', 2);
});

test('a folder that nobody can look into holds no super-journal, and is no reason to give up', async () => {
  const crash = await crashed(committed());
  const deep = makeDeepFolder(crash.folder.files);
  try {
    holds(await startOn(crash), 'new', 2);
  } finally {
    deep.remove();
  }
});

test('rolled back too if the mount has another path since', async () => {
  const bench = await startOn(await crashed(killed()), join(folder, 'another', 'mnt'));
  holds(bench, 'old', 1);
  // The journals that it names are somewhere that is not known: it stays for them.
  assert.ok(superJournalOf(bench.backing(MAIN)) !== undefined);
});

test('the super-journal stays while one journal that names it does', async () => {
  const crash = await crashed(killed());
  const kept = `${crash.backing(ATTACHED)}-journal`;
  cpSync(kept, join(crash.folder.spool, 'journal'));
  const bench = await startOn(crash);
  assert.is(superJournalOf(bench.backing(MAIN)), undefined);

  // The attached database could not be played back, say: its journal is as it was.
  const again = await crashed(killed());
  rmSync(again.backing(ATTACHED));
  const second = await startOn(again);
  assert.is(valuesOf(second.backing(MAIN)), 'old');
  assert.ok(superJournalOf(second.backing(MAIN)) !== undefined);
});

test('a journal that names a super-journal elsewhere is left to its next opener', async () => {
  const crash = await crashed(committed());
  const bench = await startOn(crash, join(folder, 'another', 'mnt'));
  assert.equal(journalsIn(bench), NAMES);
  assert.equal(bench.warnings.length, 2);
  assert.match(bench.warnings[0]!, 'its next opener ends it');
  // Which finds it void, and removes it.
  for (const name of NAMES) await bench.unlink(`${name}-journal`);
  await bench.quiet();
  holds(bench, 'new', 2);
});

test('on a mount that lives on, journal and super-journal are left to the applications', async () => {
  const crash = await crashed(killed());
  const bench = await startOn(crash, mountPath(), true);
  assert.equal(journalsIn(bench), NAMES);
  assert.ok(superJournalOf(bench.backing(MAIN)) !== undefined);
  assert.equal(readdirSync(dirname(bench.backing(MAIN))).length, readdirSync(killed()).length);
});

test('a journal takes no file away that is no super-journal, whatever it names', async () => {
  const files = mkdtempSync(join(folder, 'files-'));
  const others = new Map([
    ['empty.db', Buffer.alloc(0)],
    ['zeros.db', Buffer.alloc(4096)],
    ['large.db-mj01234597F', Buffer.alloc(1 << 20)],
  ]);
  for (const [name, bytes] of others) writeFileSync(join(files, name), bytes);
  makeOld(join(files, 'app.db'));
  for (const name of others.keys()) {
    const note = Buffer.from(`0000${join(mountPath(), name)}`);
    const tail = Buffer.alloc(16);
    tail.writeUInt32BE(note.length - 4, 0);
    tail.writeUInt32BE(
      note.subarray(4).reduce((sum, byte) => sum + byte, 0),
      4,
    );
    Buffer.from(JOURNAL_MAGIC).copy(tail, 8);
    writeFileSync(
      join(files, 'app.db-journal'),
      Buffer.concat([Buffer.from(JOURNAL_MAGIC), Buffer.alloc(504), note, tail]),
    );
    assert.is(await endHotJournal(join(files, 'app.db'), { files, mountPath: mountPath() }), 'ended', name);
  }
  for (const [name, bytes] of others) assert.ok(readFileSync(join(files, name)).equals(bytes), name);
});

test.run();
