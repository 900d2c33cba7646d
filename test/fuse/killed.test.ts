import { existsSync, linkSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { FileNode } from '../../src/fuse/index.js';
import * as p from '../../src/fuse/protocol.js';
import { PassiveWatcher } from './support/passive-watcher.js';
import { nameBody, renameBody, SyntheticKernel } from './support/synthetic-kernel.js';

/** What a process leaves that is killed between a change of the backing folder and the record of it, and its successor. */

const RESENT = 1n << 63n;

class Telling extends PassiveWatcher {
  readonly told: string[] = [];
  override added(node: FileNode, created: boolean): void {
    super.added(node, created);
    this.told.push(`added ${node.path}`);
  }
  override renamed(node: FileNode, oldPath: string): void {
    this.told.push(`renamed ${oldPath} ${node.path}`);
  }
}

/** Does `change`, takes its last `lost` records away, and hands over to another process. */
function killed(
  prepare: (kernel: SyntheticKernel) => void,
  change: (kernel: SyntheticKernel) => void,
  lost: number,
  then: (next: SyntheticKernel, told: string[]) => void,
): void {
  const kernel = new SyntheticKernel();
  const watcher = new Telling();
  let next: SyntheticKernel | undefined;
  try {
    kernel.init();
    prepare(kernel);
    change(kernel);
    const nodes = `${kernel.folder}/nodes`;
    const lines = readFileSync(nodes, 'utf8').split('\n');
    writeFileSync(nodes, `${lines.slice(0, -1 - lost).join('\n')}\n`);
    next = new SyntheticKernel('kernel', watcher, undefined, kernel);
    then(next, watcher.told);
    assert.equal(next.logged, []);
  } finally {
    next?.close();
    kernel.close();
  }
}

/** Two open files with data: one that is to be renamed to `new`, and the one that has this name. */
function oldAndNew(kernel: SyntheticKernel): { id: number; replaced: number } {
  const replaced = kernel.create('new');
  kernel.write(replaced, 0, 'replaced');
  const id = kernel.create('old');
  kernel.write(id, 0, 'data');
  return { id, replaced };
}

const resend = (k: SyntheticKernel, opcode: number, body: Buffer): number | undefined =>
  k.send(opcode, 1, body, RESENT | 77n)?.errno;

for (const lost of [0, 1]) {
  test(`a rename that is sent again keeps its node and its handles; records lost: ${lost}`, () => {
    let id = 0;
    killed(
      (k) => {
        id = k.create('old');
        k.write(id, 0, 'data');
      },
      (k) => k.ok(p.FUSE_RENAME2, 1, renameBody(1, 'old', 'new')),
      lost,
      (next, told) => {
        assert.is(next.read(id), 'data', 'before the request comes again');
        assert.is(resend(next, p.FUSE_RENAME2, renameBody(1, 'old', 'new')), 0);
        assert.is(next.table.get(id)?.path, 'new');
        assert.is(next.lookup('new'), id);
        assert.is(next.lookup('old'), 0);
        const other = next.create('old');
        next.write(other, 0, 'other');
        assert.is(next.read(id), 'data');
        if (lost > 0) assert.ok(told.includes('renamed old new'), told.join());
      },
    );
  });
}

for (const lost of [0, 1, 2]) {
  test(`a rename over an open file that is sent again: both keep their data; records lost: ${lost}`, () => {
    let replaced = 0;
    let id = 0;
    killed(
      (k) => {
        ({ id, replaced } = oldAndNew(k));
      },
      (k) => k.ok(p.FUSE_RENAME2, 1, renameBody(1, 'old', 'new')),
      lost,
      (next) => {
        assert.is(next.read(replaced), 'replaced');
        assert.is(next.read(id), 'data');
        assert.is(resend(next, p.FUSE_RENAME2, renameBody(1, 'old', 'new')), 0);
        assert.is(next.lookup('new'), id);
        assert.is(next.read(replaced), 'replaced');
        assert.is(next.read(id), 'data');
        next.forget(replaced, 1);
        assert.equal(readdirSync(`${next.home}/orphans`), []);
      },
    );
  });
}

test('a rename that was only written down is made when it is sent again', () => {
  let replaced = 0;
  let id = 0;
  killed(
    (k) => {
      ({ id, replaced } = oldAndNew(k));
    },
    (k) => {
      const node = k.table.get(id)!;
      k.table.intend(node, k.table.root, 'new');
      // And the data of the other has got its second name.
      linkSync(`${k.folder}/backing/new`, `${k.folder}/orphans/${replaced}`);
      writeFileSync(`${k.folder}/orphans/999`, 'of nobody');
    },
    0,
    (next) => {
      assert.is(next.table.get(id)?.path, 'old');
      assert.is(next.read(id), 'data');
      assert.is(next.read(replaced), 'replaced');
      assert.not.ok(existsSync(`${next.home}/orphans/999`));
      assert.is(resend(next, p.FUSE_RENAME2, renameBody(1, 'old', 'new')), 0);
      assert.is(next.lookup('new'), id);
      assert.is(next.read(id), 'data');
      assert.is(next.read(replaced), 'replaced');
    },
  );
});

for (const lost of [0, 1]) {
  test(`an open file is unlinked and made anew: old handles keep the old data; records lost: ${lost}`, () => {
    let id = 0;
    killed(
      (k) => {
        id = k.create('x');
        k.write(id, 0, 'old');
      },
      (k) => k.ok(p.FUSE_UNLINK, 1, nameBody('x')),
      lost,
      (next) => {
        assert.is(resend(next, p.FUSE_UNLINK, nameBody('x')), 0);
        const fresh = next.create('x');
        assert.is.not(fresh, id);
        next.write(fresh, 0, 'fresh');
        assert.is(next.write(id, 0, 'OLD'), 0);
        assert.is(next.read(id), 'OLD');
        assert.is(next.read(fresh), 'fresh');
        next.forget(id, 1);
        assert.equal(readdirSync(`${next.home}/orphans`), []);
        // Another process finds it as it is now.
        const third = new SyntheticKernel('kernel', new PassiveWatcher(), undefined, next);
        assert.is(third.read(fresh), 'fresh');
        third.close();
      },
    );
  });
}

for (const other of ['file', 'folder'] as const) {
  test(`a ${other} where a folder was: what was removed from that one is not taken for what is in this`, () => {
    killed(
      (k) => {
        k.ok(p.FUSE_MKDIR, 1, Buffer.concat([Buffer.alloc(8, 1), nameBody('f')]));
        const folder = k.lookup('f');
        k.ok(p.FUSE_MKDIR, 1, Buffer.concat([Buffer.alloc(8, 1), nameBody('elsewhere')]));
        k.create('x', k.lookup('elsewhere'));
        const file = k.create('x', folder);
        k.release(file);
        k.forget(file, 1);
        k.ok(p.FUSE_UNLINK, folder, nameBody('x'));
        k.ok(p.FUSE_RMDIR, 1, nameBody('f'));
      },
      (k) => {
        if (other === 'file') k.create('f');
        else k.ok(p.FUSE_RENAME2, 1, renameBody(1, 'elsewhere', 'f'));
      },
      0,
      (next, told) => {
        assert.equal(
          told.filter((each) => each === 'added f/x'),
          other === 'file' ? [] : ['added f/x'],
        );
        assert.ok(next.lookup('f') > 0);
      },
    );
  });
}

test.run();
