import { existsSync, lstatSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { WAKE_NAME } from '../../src/fuse/index.js';
import * as p from '../../src/fuse/protocol.js';
import { PassiveWatcher } from './support/passive-watcher.js';
import { createBody, nameBody, renameBody, SyntheticKernel } from './support/synthetic-kernel.js';

const ENOENT = 2;
const EPERM = 1;
const EEXIST = 17;
const EINVAL = 22;
const ENAMETOOLONG = 36;
/** Of fuse_attr in a fuse_entry_out. */
const SIZE = 48;
const MODE = 100;

function scenario(name: string, run: (k: SyntheticKernel) => void): void {
  test(name, () => {
    const kernel = new SyntheticKernel();
    try {
      kernel.init();
      run(kernel);
      assert.equal(kernel.logged, []);
    } finally {
      kernel.close();
    }
  });
}

/** Makes a link; returns its node id. */
const link = (k: SyntheticKernel, name: string, target: string, folder = 1): number =>
  Number(k.ok(p.FUSE_SYMLINK, folder, nameBody(name, target)).readBigUInt64LE(0));

const target = (k: SyntheticKernel, node: number): string => k.ok(p.FUSE_READLINK, node).toString();

scenario('a link says its target, and is as long as it', (k) => {
  const made = k.ok(p.FUSE_SYMLINK, 1, nameBody('l', '../some/where'));
  assert.is(made.readUInt32LE(MODE).toString(8), '120777');
  assert.is(Number(made.readBigUInt64LE(SIZE)), 13);
  const id = Number(made.readBigUInt64LE(0));
  assert.is(target(k, id), '../some/where');
  const found = k.ok(p.FUSE_LOOKUP, 1, nameBody('l'));
  assert.is(Number(found.readBigUInt64LE(0)), id);
  assert.is(Number(found.readBigUInt64LE(SIZE)), 13);
});

scenario('in the backing folder a link leads nowhere: neither out of it nor into the mount', (k) => {
  const backing = `${k.folder}/backing`;
  writeFileSync(`${k.folder}/outside`, 'secret');
  writeFileSync(`${backing}/inside`, 'text');
  for (const [name, to] of Object.entries({ a: `${k.folder}/outside`, b: '../outside', c: 'inside', d: '.' })) {
    assert.is(target(k, link(k, name, to)), to);
    assert.not.ok(existsSync(`${backing}/${name}`));
    assert.throws(() => readFileSync(`${backing}/${name}`), /ENOENT/);
    assert.ok(lstatSync(`${backing}/${name}`).isSymbolicLink());
  }
});

scenario('a link that came there by other means says what it is', (k) => {
  symlinkSync('inside', `${k.folder}/backing/l`);
  const id = k.lookup('l');
  assert.is(target(k, id), 'inside');
  assert.is(Number(k.ok(p.FUSE_GETATTR, id, Buffer.alloc(16)).readBigUInt64LE(24)), 6);
});

scenario('links are renamed, replaced and removed like files', (k) => {
  const id = link(k, 'l', 'one');
  k.ok(p.FUSE_RENAME2, 1, renameBody(1, 'l', 'm'));
  assert.is(k.lookup('m'), id);
  k.create('file');
  k.ok(p.FUSE_RENAME2, 1, renameBody(1, 'm', 'file'));
  assert.is(target(k, k.lookup('file')), 'one');
  k.ok(p.FUSE_RENAME2, 1, renameBody(1, 'file', 'm'));
  k.create('file');
  k.ok(p.FUSE_RENAME2, 1, renameBody(1, 'file', 'm'));
  assert.is(k.errno(p.FUSE_READLINK, k.lookup('m')), EINVAL);
  link(k, 'n', 'two');
  k.ok(p.FUSE_UNLINK, 1, nameBody('n'));
  assert.is(k.lookup('n'), 0);
  assert.not.ok(lstatSync(`${k.folder}/backing/n`, { throwIfNoEntry: false }));
});

scenario('what cannot be is refused: a name that is taken or ours, a target that is too long', (k) => {
  k.create('file');
  assert.is(k.errno(p.FUSE_SYMLINK, 1, nameBody('file', 'x')), EEXIST);
  assert.is(k.errno(p.FUSE_SYMLINK, 1, nameBody(WAKE_NAME, 'x')), EPERM);
  assert.is(k.errno(p.FUSE_SYMLINK, 1, nameBody('long', 't'.repeat(4088))), ENAMETOOLONG);
  assert.is(k.errno(p.FUSE_SYMLINK, 1, nameBody('none', '')), EINVAL);
  assert.is(k.errno(p.FUSE_SYMLINK, 1, Buffer.from('name without a target\0')), EINVAL);
  assert.is(target(k, link(k, 'long', 't'.repeat(4087))), 't'.repeat(4087));
});

scenario('a link that was made before its process died is not an error when it is asked for again', (k) => {
  const again = (unique: bigint): bigint => unique | (1n << 63n);
  link(k, 'l', 'there');
  k.create('file');
  assert.is(k.send(p.FUSE_SYMLINK, 1, nameBody('l', 'there'), again(7n))?.errno, 0);
  assert.is(k.send(p.FUSE_SYMLINK, 1, nameBody('l', 'elsewhere'), again(8n))?.errno, EEXIST);
  assert.is(k.send(p.FUSE_SYMLINK, 1, nameBody('file', 'there'), again(9n))?.errno, EEXIST);
});

scenario('a file has one name: a hard link is refused', (k) => {
  const body = Buffer.concat([Buffer.alloc(8), nameBody('other')]);
  body.writeBigUInt64LE(BigInt(k.create('file')));
  assert.is(k.errno(p.FUSE_LINK, 1, body), EPERM);
  assert.is(k.lookup('other'), 0);
});

scenario('names and targets that are not UTF-8 work, and are known to the next process', (k) => {
  const bytes = Buffer.from('636166e9fffe', 'hex');
  const backing = Buffer.from(`${k.folder}/backing/`);
  const name = (text: Buffer): Buffer => Buffer.concat([text, Buffer.of(0)]);
  const created = createBody('');
  const file = Number(k.ok(p.FUSE_CREATE, 1, Buffer.concat([created.subarray(0, 16), name(bytes)])).readBigUInt64LE(0));
  k.write(file, 0, 'text');
  assert.is(readFileSync(Buffer.concat([backing, bytes]), 'utf8'), 'text');
  const linked = Buffer.concat([bytes, Buffer.of(0x2e)]);
  const made = k.ok(p.FUSE_SYMLINK, 1, Buffer.concat([name(linked), name(bytes)]));
  const id = Number(made.readBigUInt64LE(0));
  assert.equal(k.ok(p.FUSE_READLINK, id), bytes);
  assert.is(Number(made.readBigUInt64LE(SIZE)), bytes.length);
  assert.ok(
    readlinkSync(Buffer.concat([backing, linked]), 'buffer')
      .subarray(-bytes.length)
      .equals(bytes),
  );
  const next = new SyntheticKernel('kernel', new PassiveWatcher(), undefined, k);
  try {
    assert.is(next.read(file), 'text');
    assert.equal(next.ok(p.FUSE_READLINK, id), bytes);
    assert.is(Number(next.ok(p.FUSE_LOOKUP, 1, name(bytes)).readBigUInt64LE(0)), file);
  } finally {
    next.close();
  }
});

scenario('a folder that was removed under somebody is still what it was, and empty', (k) => {
  const made = k.ok(p.FUSE_MKDIR, 1, Buffer.concat([Buffer.alloc(8, 1), nameBody('d')]));
  const id = Number(made.readBigUInt64LE(0));
  k.ok(p.FUSE_RMDIR, 1, nameBody('d'));
  const attributes = k.ok(p.FUSE_GETATTR, id, Buffer.alloc(16));
  assert.is(attributes.readUInt32LE(16 + 60), made.readUInt32LE(MODE));
  assert.is(attributes.readUInt32LE(16 + 64), 0, 'no links');
  const read = Buffer.alloc(40);
  read.writeUInt32LE(4096, 16);
  assert.is(k.ok(p.FUSE_READDIR, id, read).length, 0);
  assert.is(k.errno(p.FUSE_CREATE, id, createBody('f')), ENOENT);
  rmSync(`${k.folder}/backing`, { recursive: true });
});

test.run();
