import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { NodeLog } from '../../src/fuse/node-log.js';
import { NodeTable } from '../../src/fuse/nodes.js';
import * as p from '../../src/fuse/protocol.js';
import { canMount } from './support/mounted.js';
import { PassiveWatcher } from './support/passive-watcher.js';
import { createBody, nameBody, renameBody, SyntheticKernel } from './support/synthetic-kernel.js';

const ENOSPC = 28;
const DISK_BYTES = 64 << 10;

/** A kernel whose log of nodes is on a disk with a few free pages; `fill` takes all of them but what the log has. */
function onSmallDisk(
  run: (kernel: SyntheticKernel, disk: { folder: string; fill(): void; empty(): void }) => void,
): void {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-disk-'));
  const options = ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'sluice-test', folder];
  assert.is(spawnSync('mount', options, { timeout: 5000 }).status, 0);
  const kernel = new SyntheticKernel('kernel', new PassiveWatcher(), undefined, undefined, folder);
  const fill = (): void => {
    try {
      writeFileSync(`${folder}/filler`, Buffer.alloc(2 * DISK_BYTES));
    } catch (error) {
      assert.is((error as NodeJS.ErrnoException).code, 'ENOSPC');
    }
  };
  try {
    kernel.init();
    run(kernel, { folder, fill, empty: () => rmSync(`${folder}/filler`) });
    assert.equal(kernel.logged, []);
  } finally {
    kernel.close();
    spawnSync('umount', ['-l', folder], { timeout: 5000 });
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Creates files until the log is full; name -> id of those that were made. */
function createUntilFull(k: SyntheticKernel): Map<string, number> {
  const made = new Map<string, number>();
  for (let i = 0; i < 1000; i++) {
    const name = `${i}-${'n'.repeat(i % 50)}`;
    const reply = k.send(p.FUSE_CREATE, 1, createBody(name));
    if (reply === undefined) throw new Error('not answered');
    if (reply.errno === ENOSPC) {
      assert.not.ok(existsSync(`${k.folder}/backing/${name}`), 'what could not be made is not there');
      assert.is(k.lookup(name), 0);
      return made;
    }
    assert.is(reply.errno, 0);
    const id = Number(reply.body.readBigUInt64LE(0));
    k.write(id, 0, name);
    k.release(id);
    made.set(name, id);
  }
  throw new Error('the disk never got full');
}

/** What another process makes of the log. */
function resumed(k: SyntheticKernel, folder: string, check: (next: SyntheticKernel) => void): void {
  const next = new SyntheticKernel('kernel', new PassiveWatcher(), undefined, k, folder);
  check(next);
  next.close();
}

if (canMount) {
  test('on a full disk no id is given out that was not recorded, and no descriptor is lost', () => {
    onSmallDisk((k, { folder, fill, empty }) => {
      k.create('first');
      fill();
      const made = createUntilFull(k);
      assert.ok(made.size > 10, 'the rest of the first page');
      const open = readdirSync('/proc/self/fd').length;
      for (let i = 0; i < 20; i++) assert.is(k.errno(p.FUSE_CREATE, 1, createBody(`${'f'.repeat(200)}${i}`)), ENOSPC);
      assert.is(readdirSync('/proc/self/fd').length, open);
      assert.ok(readFileSync(`${folder}/nodes`, 'utf8').endsWith('\n'), 'no torn line');
      writeFileSync(`${k.folder}/backing/found-${'f'.repeat(200)}`, '');
      assert.is(k.errno(p.FUSE_LOOKUP, 1, nameBody(`found-${'f'.repeat(200)}`)), ENOSPC);
      empty();
      made.set('later', k.create('later'));
      k.write(made.get('later')!, 0, 'later');
      resumed(k, folder, (next) => {
        for (const [name, id] of made) {
          assert.is(next.table.get(id)?.path, name);
          assert.is(next.read(id), name);
        }
        const fresh = next.create('fresh');
        assert.not.ok([...made.values()].includes(fresh), 'no id is given out twice');
      });
    });
  });

  test('what happened on a full disk is recorded before the next id', () => {
    onSmallDisk((k, { folder, fill, empty }) => {
      const one = k.create(`one-${'1'.repeat(200)}`);
      const two = k.create('two');
      k.write(one, 0, 'one');
      k.write(two, 0, 'two');
      fill();
      createUntilFull(k);
      assert.is(k.errno(p.FUSE_RENAME2, 1, renameBody(1, 'two', '2'.repeat(200))), ENOSPC);
      assert.is(k.lookup('two'), two);
      // It frees space, and must not fail for the lack of it.
      k.ok(p.FUSE_UNLINK, 1, nameBody(`one-${'1'.repeat(200)}`));
      assert.is(k.read(one), 'one');
      assert.not.ok(readFileSync(`${folder}/nodes`, 'utf8').includes(`u\t${one}`), 'there was no room for the record');
      resumed(k, folder, (next) => assert.is(next.read(one), 'one', 'killed before it was recorded'));
      empty();
      k.create('three');
      assert.ok(readFileSync(`${folder}/nodes`, 'utf8').includes(`u\t${one}`));
    });
  });
}

const DAMAGED: readonly (readonly [string, string])[] = [
  ['the root is gone', 'x\t1\n'],
  ['the root in itself', 'b\t1\tfolder\t1\tx\n'],
  ['a folder in itself', 'b\t7\tfolder\t1\tx\nb\t7\tfolder\t7\ty\n'],
  ['a folder below itself', 'b\t7\tfolder\t1\tx\nb\t8\tfolder\t7\ty\nb\t7\tfolder\t8\tz\n'],
  ['about to be moved below itself', 'b\t7\tfolder\t1\tx\nb\t8\tfolder\t7\ty\nr\t7\t8\tz\n'],
  [
    'a name that leads out of the folder',
    'b\t7\tfile\t1\t..\nb\t8\tfile\t1\t../../x\nb\t9\tfile\t1\t\nb\t10\tfile\t1\t..\\x2fx\n',
  ],
  ['a name with NUL', 'b\t7\tfile\t1\ta\0b\n'],
  ['bytes that are no UTF-8, then a record', `b\t7\tfile\t1\t${'\xff'.repeat(9)}\n`],
];
for (const [what, records] of DAMAGED) {
  test(`a damaged log does no harm: ${what}`, () => {
    const folder = mkdtempSync(join(tmpdir(), 'sluice-nodes-'));
    try {
      writeFileSync(join(folder, 'nodes'), records, 'latin1');
      const table = new NodeTable({ fd: () => -1 });
      const log = NodeLog.resume(join(folder, 'nodes'), table.records);
      table.record(log);
      assert.is(table.get(1), table.root);
      assert.is(table.interrupted, undefined);
      for (const node of table.below(table.root)) assert.not.match(node.path, /(^|\/)\.\.?(\/|$)|\0/);
      const added = table.add(table.root, 'new.db', 'file');
      log.close();
      const again = new NodeTable({ fd: () => -1 });
      NodeLog.resume(join(folder, 'nodes'), again.records).close();
      assert.is(again.get(added.id)?.path, 'new.db');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}

test.run();
