import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DEFERRED_LIMIT, DEFERRED_LIMIT_BYTES } from '../../src/fuse/deferrals.js';
import {
  DEFER,
  type FileNode,
  type LockFileFacts,
  PROCEED,
  type Verdict,
  type VirtualLock,
} from '../../src/fuse/index.js';
import * as p from '../../src/fuse/protocol.js';
import { PassiveWatcher } from './support/passive-watcher.js';
import {
  createBody,
  initBody,
  lockBody,
  nameBody,
  openBody,
  readBody,
  renameBody,
  SyntheticKernel,
  writeBody,
} from './support/synthetic-kernel.js';

const TO_THE_END = 0x7fff_ffff_ffff_ffffn;

/** Runs with a kernel that is closed afterwards; the log must stay empty unless the test empties it. */
function scenario(
  name: string,
  run: (kernel: SyntheticKernel) => void,
  make: () => SyntheticKernel = () => new SyntheticKernel(),
): void {
  test(name, () => {
    const kernel = make();
    try {
      run(kernel);
      assert.equal(kernel.logged, []);
    } finally {
      kernel.close();
    }
  });
}

scenario('INIT takes what it needs and no write-back cache', (k) => {
  const body = k.init();
  assert.is(body.readUInt32LE(4), 41);
  const flags = body.readUInt32LE(12);
  assert.is(flags & (1 << 16), 0, 'WRITEBACK_CACHE');
  assert.is(flags & p.POSIX_LOCKS, 0);
  assert.is(flags & p.EXPLICIT_INVAL_DATA, p.EXPLICIT_INVAL_DATA);
  assert.is(body.readUInt32LE(32) & p.HAS_RESEND, p.HAS_RESEND);
  assert.is(body.readUInt32LE(20), 1 << 20);
  assert.is(k.errno(p.FUSE_INIT, 0, initBody()), 22, 'only once');
});

scenario(
  'INIT with locks: sluice asks for them; an older kernel is answered its own minor; a very old one is refused',
  (k) => {
    assert.is(k.errno(p.FUSE_INIT, 0, initBody(7, 12)), 38);
    assert.is(k.errno(p.FUSE_INIT, 0, initBody(8, 40)), 38);
    assert.is(k.logged.splice(0).length, 2);
    const body = k.ok(p.FUSE_INIT, 0, initBody(7, 36));
    assert.is(body.readUInt32LE(4), 36);
    assert.is(body.readUInt32LE(12) & p.POSIX_LOCKS, p.POSIX_LOCKS);
  },
  () => new SyntheticKernel('sluice'),
);

scenario('a file is made, written, read, kept while open after unlink, and gone at the end', (k) => {
  k.init();
  const id = k.create('a');
  assert.is(k.write(id, 0, 'hello'), 0);
  assert.is(k.read(id), 'hello');
  assert.is(readFileSync(`${k.folder}/backing/a`, 'utf8'), 'hello');
  k.ok(p.FUSE_UNLINK, 1, nameBody('a'));
  assert.is(k.lookup('a'), 0);
  assert.is(k.read(id), 'hello');
  assert.equal(readdirSync(`${k.folder}/orphans`), [String(id)]);
  assert.is(k.ok(p.FUSE_GETATTR, id, Buffer.alloc(16)).readUInt32LE(16 + 64), 0, 'no links');
  k.release(id);
  assert.equal(readdirSync(`${k.folder}/orphans`), []);
  k.forget(id, 1);
  assert.is(k.table.get(id), undefined);
});

scenario('a rename over an open file keeps its data for the handle', (k) => {
  k.init();
  const old = k.create('target');
  k.write(old, 0, 'old');
  const fresh = k.create('fresh');
  k.write(fresh, 0, 'new');
  k.ok(p.FUSE_RENAME2, 1, renameBody(1, 'fresh', 'target'));
  assert.is(k.read(old), 'old');
  assert.is(k.read(fresh), 'new');
  assert.is(k.lookup('target'), fresh);
  assert.is(k.errno(p.FUSE_RENAME2, 1, renameBody(1, 'target', 'x', 2)), 22, 'RENAME_EXCHANGE');
  k.create('other');
  assert.is(k.errno(p.FUSE_RENAME2, 1, renameBody(1, 'target', 'other', 1)), 17, 'RENAME_NOREPLACE');
});

scenario('a journal that comes and goes keeps its node id and adds nothing to the log', (k) => {
  k.init();
  const first = k.create('db-journal');
  k.release(first);
  const sizeBytes = statSync(`${k.folder}/nodes`).size;
  for (let i = 0; i < 20; i++) {
    k.ok(p.FUSE_UNLINK, 1, nameBody('db-journal'));
    k.forget(first, 1);
    assert.is(k.create('db-journal'), first);
    k.release(first);
  }
  assert.is(statSync(`${k.folder}/nodes`).size, sizeBytes);
});

scenario('a name whose node the kernel still knows gets a new id', (k) => {
  k.init();
  const first = k.create('x');
  k.release(first);
  k.ok(p.FUSE_UNLINK, 1, nameBody('x'));
  const second = k.create('x');
  assert.is.not(second, first);
  k.forget(first, 1);
  assert.is(k.lookup('x'), second);
  assert.is(k.errno(p.FUSE_OPEN, first, openBody()), 116);
});

scenario('names that would leave the folder are refused', (k) => {
  k.init();
  for (const name of ['..', '.', '', 'a/b', '../x']) {
    assert.is(k.errno(p.FUSE_LOOKUP, 1, nameBody(name)), 22, name);
    assert.is(k.errno(p.FUSE_CREATE, 1, createBody(name)), 22, name);
    assert.is(k.errno(p.FUSE_UNLINK, 1, nameBody(name)), 22, name);
  }
  assert.is(k.errno(p.FUSE_CREATE, 1, createBody('n'.repeat(300))), 36);
});

scenario('a request that promises more bytes than it brings is refused, and changes nothing', (k) => {
  k.init();
  const id = k.create('a');
  k.write(id, 0, 'kept');
  const refused = (request: Buffer): void => {
    const buffer = Buffer.alloc(4096, 0x41);
    request.copy(buffer);
    k.session.handle(buffer, request.length);
    assert.is(k.replies.at(-1)?.errno, 22);
    assert.is(k.read(id), 'kept');
  };
  const write = k.request(p.FUSE_WRITE, id, writeBody(0, Buffer.from('more')));
  write.writeUInt32LE(2000, 56);
  refused(write);
  const setattr = Buffer.alloc(24);
  setattr.writeUInt32LE(p.FATTR_SIZE, 0);
  refused(k.request(p.FUSE_SETATTR, id, setattr));
  const lying = k.request(p.FUSE_WRITE, id, writeBody(0, Buffer.from('more')));
  lying.writeUInt32LE(lying.length - 1, 0);
  refused(lying);
});

scenario('folders: made, moved with all below, removed only when empty', (k) => {
  k.init();
  const mkdir = (name: string, folder = 1): number => {
    const fields = Buffer.alloc(8);
    fields.writeUInt32LE(0o755, 0);
    return Number(k.ok(p.FUSE_MKDIR, folder, Buffer.concat([fields, nameBody(name)])).readBigUInt64LE(0));
  };
  const a = mkdir('a');
  const b = mkdir('b', a);
  const file = k.create('f', b);
  k.write(file, 0, 'deep');
  k.ok(p.FUSE_RENAME2, 1, renameBody(1, 'a', 'z'));
  assert.is(k.table.get(file)?.path, 'z/b/f');
  assert.is(k.read(file), 'deep');
  assert.is(k.errno(p.FUSE_RMDIR, 1, nameBody('z')), 39);
  k.ok(p.FUSE_UNLINK, b, nameBody('f'));
  k.ok(p.FUSE_RMDIR, a, nameBody('b'));
  k.ok(p.FUSE_RMDIR, 1, nameBody('z'));
  assert.is(k.lookup('z'), 0);
});

scenario('a request that is sent again after a process died does no harm', (k) => {
  k.init();
  const again = (unique: bigint): bigint => unique | (1n << 63n);
  writeFileSync(`${k.folder}/backing/made`, '');
  const created = k.send(p.FUSE_CREATE, 1, createBody('made', 0o302), again(7n));
  assert.is(created?.errno, 0, 'O_EXCL of a file that the dead process made');
  assert.is(created?.unique, again(7n));
  assert.is(k.errno(p.FUSE_CREATE, 1, createBody('made', 0o302)), 17);
  assert.is(k.send(p.FUSE_UNLINK, 1, nameBody('gone'), again(8n))?.errno, 0);
  assert.is(k.errno(p.FUSE_UNLINK, 1, nameBody('gone')), 2);
});

scenario('a new process knows the ids, the paths, and the orphans of the old one', (k) => {
  k.init();
  const kept = k.create('kept');
  k.write(kept, 0, 'kept');
  const moved = k.create('before');
  k.ok(p.FUSE_RENAME2, 1, renameBody(1, 'before', 'after\t\n\\'));
  const orphan = k.create('orphan');
  k.write(orphan, 0, 'orphan');
  k.ok(p.FUSE_UNLINK, 1, nameBody('orphan'));
  const next = new SyntheticKernel('kernel', new PassiveWatcher(), undefined, k);
  try {
    assert.is(next.table.get(kept)?.path, 'kept');
    assert.is(next.table.get(moved)?.path, 'after\t\n\\');
    assert.is(next.read(kept), 'kept');
    assert.is(next.read(orphan), 'orphan');
    next.release(kept, 1);
    next.ok(p.FUSE_UNLINK, 1, nameBody('kept'));
    assert.is(next.read(kept), 'kept', 'it may be open since before');
    next.forget(kept, 1);
    next.forget(orphan, 1);
    assert.equal(readdirSync(`${k.folder}/orphans`), []);
    assert.ok(next.create('new') > orphan, 'no id is given out twice');
  } finally {
    next.close();
  }
});

class Deferring extends PassiveWatcher {
  verdict: Verdict = DEFER;
  readonly wrote_: string[] = [];
  override mayWrite(_node: FileNode): Verdict {
    return this.verdict;
  }
  override wrote(node: FileNode, position: number, data: Buffer, start: number, length: number): void {
    this.wrote_.push(`${node.path}@${position}:${data.toString('utf8', start, start + length)}`);
  }
  override mayUnlink(): Verdict {
    return 30;
  }
}

const deferring = new Deferring();
scenario(
  'deferred requests are answered in order after a wake-up, and refusals carry their errno',
  (k) => {
    k.init();
    const id = k.create('a');
    assert.is(k.write(id, 0, 'one'), undefined);
    assert.is(k.write(id, 1, 'two'), undefined);
    assert.is(k.session.waiting, 2);
    assert.is(k.send(p.FUSE_NOTIFY_REPLY, 2, Buffer.alloc(40)), undefined);
    assert.is(k.session.waiting, 2, 'deferred once more');
    deferring.verdict = PROCEED;
    const before = k.replies.length;
    k.send(p.FUSE_NOTIFY_REPLY, 2, Buffer.alloc(40));
    assert.is(k.replies.length, before + 2);
    assert.equal(deferring.wrote_, ['a@0:one', 'a@1:two']);
    assert.is(k.read(id), 'otwo');
    assert.is(k.errno(p.FUSE_UNLINK, 1, nameBody('a')), 30);
    assert.ok(existsSync(`${k.folder}/backing/a`));
    deferring.verdict = DEFER;
    for (const [bytes, limit] of [
      [1, DEFERRED_LIMIT],
      [1 << 20, DEFERRED_LIMIT_BYTES >> 20],
    ] as const) {
      deferring.verdict = DEFER;
      let kept = 0;
      for (; !k.session.full; kept++) assert.is(k.write(id, 0, 'x'.repeat(bytes)), undefined);
      assert.ok(kept <= limit && kept >= limit - 2, `${kept} requests of ${bytes} bytes`);
      assert.is(k.session.waiting, kept);
      deferring.verdict = 28;
      k.session.wake();
      assert.is(k.session.waiting, 0);
      assert.not.ok(k.session.full);
      assert.is(k.replies.at(-1)?.errno, 28);
    }
  },
  () => new SyntheticKernel('kernel', deferring),
);

class Withholding extends PassiveWatcher {
  verdict: Verdict = DEFER;
  readonly seen: string[] = [];
  awaits(node: FileNode): boolean {
    return node.path.endsWith('-wal');
  }
  override wrote(node: FileNode, position: number, data: Buffer, start: number, length: number): void {
    this.seen.push(`wrote ${node.path}@${position}:${data.toString('utf8', start, start + length)}`);
  }
  mayAnswer(_node: FileNode, position: number, length: number): Verdict {
    this.seen.push(`may answer ${length}@${position}`);
    return this.verdict;
  }
}

const withholding = new Withholding();
scenario(
  'a write whose answer is withheld is made once, and seen once; its answer, or an error, comes after a wake-up',
  (k) => {
    k.init();
    const other = k.create('a.db');
    assert.is(k.write(other, 0, 'free'), 0);
    const id = k.create('a.db-wal');
    withholding.seen.length = 0;
    assert.is(k.write(id, 0, 'one'), undefined);
    assert.is(k.session.waiting, 1);
    const path = `${k.folder}/backing/a.db-wal`;
    assert.is(readFileSync(path, 'utf8'), 'one', 'who reads the file finds it');
    assert.is(k.read(id), 'one');
    assert.equal(withholding.seen, ['wrote a.db-wal@0:one', 'may answer 3@0']);
    // Whoever writes meanwhile is not overwritten by what was made already.
    writeFileSync(path, 'ONE');
    k.session.wake();
    assert.is(k.session.waiting, 1, 'not yet');
    withholding.verdict = PROCEED;
    const before = k.replies.length;
    k.session.wake();
    assert.is(k.session.waiting, 0);
    assert.equal(withholding.seen.slice(2), ['may answer 3@0', 'may answer 3@0']);
    assert.is(readFileSync(path, 'utf8'), 'ONE');
    const [reply, ...more] = k.replies.slice(before);
    assert.equal([reply?.errno, reply?.body.readUInt32LE(0), more], [0, 3, []]);
    // What is allowed at once is answered at once.
    assert.is(k.write(id, 3, 'two'), 0);
    withholding.verdict = DEFER;
    assert.is(k.write(id, 6, 'six'), undefined);
    assert.is(k.write(other, 4, '!'), 0, 'other files go on');
    withholding.verdict = 5;
    k.session.wake();
    assert.is(k.session.waiting, 0);
    assert.is(k.replies.at(-1)?.errno, 5);
  },
  () => new SyntheticKernel('kernel', withholding),
);

scenario('a look-up of the wake file is a wake-up, and it is in no listing', (k) => {
  k.init();
  assert.is(k.lookup('.sluice-wake'), 2);
  k.create('seen');
  const listing = k.ok(p.FUSE_READDIR, 1, readBody(0, 4096)).toString('latin1');
  assert.ok(listing.includes('seen'));
  assert.not.ok(listing.includes('wake'));
  assert.is(k.errno(p.FUSE_UNLINK, 1, nameBody('.sluice-wake')), 1);
  assert.is(k.errno(p.FUSE_CREATE, 1, createBody('.sluice-wake')), 1);
  assert.is(k.errno(p.FUSE_RENAME2, 1, renameBody(1, 'seen', '.sluice-wake')), 1);
});

scenario(
  'locks: a waiter gets the lock when it is free, a signal ends the wait, a close drops all',
  (k) => {
    k.init();
    const id = k.create('a');
    const set = (owner: bigint, type: number): number | undefined =>
      k.errno(p.FUSE_SETLK, id, lockBody(owner, type, 0n, 9n));
    assert.is(set(1n, 1), 0);
    assert.is(set(2n, 0), 11);
    const held = k.ok(p.FUSE_GETLK, id, lockBody(2n, 1, 5n, TO_THE_END));
    assert.equal([held.readUInt32LE(16), held.readUInt32LE(20)], [1, 5]);
    assert.is(k.send(p.FUSE_SETLKW, id, lockBody(2n, 1, 0n, 9n), 900n), undefined);
    assert.is(k.send(p.FUSE_SETLKW, id, lockBody(3n, 1, 0n, 9n), 902n), undefined);
    const interrupt = Buffer.alloc(8);
    interrupt.writeBigUInt64LE(902n, 0);
    k.send(p.FUSE_INTERRUPT, 0, interrupt, 903n);
    assert.equal([k.replies.at(-1)?.unique, k.replies.at(-1)?.errno], [902n, 4]);
    const flush = Buffer.alloc(24);
    flush.writeBigUInt64LE(1n, 16);
    k.ok(p.FUSE_FLUSH, id, flush);
    assert.equal([k.replies.at(-1)?.unique, k.replies.at(-1)?.errno], [900n, 0]);
    assert.is(set(1n, 1), 11);
    assert.is(k.session.waiting, 0);
    assert.is(k.errno(p.FUSE_SETLK, id, lockBody(1n, 7, 0n, 9n)), 22);
    assert.is(k.errno(p.FUSE_SETLK, id, lockBody(1n, 1, 9n, 0n)), 22);
  },
  () => new SyntheticKernel('sluice'),
);

scenario(
  'so many may wait for a lock, and no more: the others go on',
  (k) => {
    k.init();
    const id = k.create('a');
    assert.is(k.errno(p.FUSE_SETLK, id, lockBody(1n, 1, 0n, 9n)), 0);
    for (let i = 0; i < DEFERRED_LIMIT; i++) {
      assert.is(k.send(p.FUSE_SETLKW, id, lockBody(BigInt(i + 2), 0, 0n, 9n)), undefined);
    }
    assert.is(k.errno(p.FUSE_SETLKW, id, lockBody(7777n, 0, 0n, 9n)), 37);
    assert.not.ok(k.session.full);
    assert.is(k.errno(p.FUSE_SETLK, id, lockBody(1n, 2, 0n, 9n)), 0);
    assert.is(k.session.waiting, 0);
  },
  () => new SyntheticKernel('sluice'),
);

scenario(
  'locks: what an open file description holds goes with its last descriptor, and nothing else does',
  (k) => {
    k.init();
    const id = k.create('a');
    const [one, two] = [k.open(id), k.open(id)];
    assert.is.not(one, two);
    const set = (owner: bigint, start: bigint, handle: number): number | undefined =>
      k.errno(p.FUSE_SETLK, id, lockBody(owner, 1, start, start + 4n, 5, handle));
    assert.is(set(1n, 0n, one), 0);
    assert.is(set(1n, 20n, one), 0);
    assert.is(set(2n, 10n, two), 0);
    assert.is(k.send(p.FUSE_SETLKW, id, lockBody(3n, 1, 20n, 24n), 900n), undefined);
    k.ok(p.FUSE_FLUSH, id, Buffer.alloc(24));
    assert.is(set(4n, 0n, 0), 11, 'a close of one of its descriptors');
    k.release(id, one);
    assert.is(k.replies.find(({ unique }) => unique === 900n)?.errno, 0, 'the waiter has it');
    assert.is(set(4n, 0n, 0), 0);
    assert.is(set(4n, 10n, 0), 11, 'held by the other open');
    k.release(id, two);
    assert.is(set(4n, 10n, 0), 0);
  },
  () => new SyntheticKernel('sluice'),
);

/** A lock file beside `db`, and one that is not writable beside `ro`. */
class LockFiles extends PassiveWatcher {
  readonly asked: VirtualLock[] = [];
  verdict = PROCEED;

  override virtual(path: string): Buffer | undefined {
    return path.endsWith('-lock') || path === '.lag' ? Buffer.alloc(0) : undefined;
  }

  lockFile(path: string): LockFileFacts | undefined {
    const like = path.slice(0, -5);
    return path.endsWith('-lock') ? { like, mayWrite: like === 'ro' ? 30 : PROCEED } : undefined;
  }

  mayLockVirtual(lock: VirtualLock): Verdict {
    this.asked.push(lock);
    return this.verdict;
  }
}

let lockFiles: LockFiles;

scenario(
  'a lock file can be opened and locked by who may write to its database; its locks go with the open',
  (k) => {
    k.init();
    k.ok(p.FUSE_CREATE, 1, createBody('db', 0o102, 0o100640));
    const entry = k.ok(p.FUSE_LOOKUP, 1, nameBody('db-lock'));
    assert.is(entry.readUInt32LE(40 + 60), 0o100640);
    const id = Number(entry.readBigUInt64LE(0));
    assert.is(k.errno(p.FUSE_OPEN, k.lookup('ro-lock'), openBody(2)), 30);
    assert.is(k.errno(p.FUSE_OPEN, k.lookup('ro-lock'), openBody(0)), 0);
    assert.is(k.errno(p.FUSE_OPEN, k.lookup('.lag'), openBody(2)), 13);
    assert.is(k.errno(p.FUSE_SETLK, k.lookup('.lag'), lockBody(1n, 1, 72n, 72n)), 22);
    const handle = k.open(id);
    assert.is(k.errno(p.FUSE_SETLK, id, lockBody(1n, 1, 72n, 72n, 5, handle)), 0);
    const { node, owner, type, start, end, waits } = lockFiles.asked[0]!;
    assert.equal([node.id, node.path, owner.low, type, start, end, waits], [id, 'db-lock', 1, 1, 72, 72, false]);
    assert.is(k.errno(p.FUSE_SETLK, id, lockBody(2n, 1, 72n, 72n)), 11);
    assert.is(k.ok(p.FUSE_GETLK, id, lockBody(2n, 1, 72n, 72n)).readUInt32LE(16), 1);
    assert.is(k.send(p.FUSE_SETLKW, id, lockBody(2n, 1, 72n, 72n), 900n), undefined);
    k.release(id, handle);
    assert.is(k.replies.find(({ unique }) => unique === 900n)?.errno, 0, 'the waiter has it');
    assert.ok(lockFiles.asked.some((lock) => lock.type === 2 && lock.owner.low === 1));
    lockFiles.verdict = DEFER;
    assert.is(k.send(p.FUSE_SETLKW, id, lockBody(3n, 1, 72n, 72n), 902n), undefined);
    assert.is(lockFiles.asked.at(-1)?.waits, true);
    const interrupt = Buffer.alloc(8);
    interrupt.writeBigUInt64LE(902n, 0);
    k.send(p.FUSE_INTERRUPT, 0, interrupt, 903n);
    assert.is(k.replies.find(({ unique }) => unique === 902n)?.errno, 4);
    assert.equal([lockFiles.asked.at(-1)?.type, lockFiles.asked.at(-1)?.owner.low], [2, 3]);
    assert.is(k.session.waiting, 0);
  },
  () => {
    lockFiles = new LockFiles();
    return new SyntheticKernel('sluice', lockFiles);
  },
);

scenario('without locks of its own, a close costs one request ever', (k) => {
  k.init();
  assert.is(k.errno(p.FUSE_FLUSH, k.create('a'), Buffer.alloc(24)), 38);
});

/** Requests that the mutations start from: each opcode once, on things that exist. */
function realRequests(k: SyntheticKernel, file: number): Buffer[] {
  const bodies: [number, number, Buffer][] = [
    [p.FUSE_LOOKUP, 1, nameBody('file')],
    [p.FUSE_FORGET, file, Buffer.alloc(8, 1)],
    [p.FUSE_GETATTR, file, Buffer.alloc(16)],
    [p.FUSE_SETATTR, file, Buffer.alloc(88)],
    [p.FUSE_READLINK, file, Buffer.alloc(0)],
    [p.FUSE_SYMLINK, 1, nameBody('a', 'b')],
    [p.FUSE_MKNOD, 1, Buffer.concat([Buffer.alloc(16), nameBody('node')])],
    [p.FUSE_MKDIR, 1, Buffer.concat([Buffer.alloc(8, 1), nameBody('folder')])],
    [p.FUSE_UNLINK, 1, nameBody('file')],
    [p.FUSE_RMDIR, 1, nameBody('folder')],
    [p.FUSE_RENAME2, 1, renameBody(1, 'file', 'other')],
    [p.FUSE_OPEN, file, openBody()],
    [p.FUSE_READ, file, readBody(0, 4096)],
    [p.FUSE_WRITE, file, writeBody(0, Buffer.from('data'))],
    [p.FUSE_STATFS, 1, Buffer.alloc(0)],
    [p.FUSE_RELEASE, file, Buffer.alloc(24)],
    [p.FUSE_FSYNC, file, Buffer.alloc(16)],
    [p.FUSE_GETXATTR, file, Buffer.alloc(16)],
    [p.FUSE_FLUSH, file, Buffer.alloc(24)],
    [p.FUSE_INIT, 0, initBody()],
    [p.FUSE_OPENDIR, 1, Buffer.alloc(8)],
    [p.FUSE_READDIR, 1, readBody(0, 4096)],
    [p.FUSE_FSYNCDIR, 1, Buffer.alloc(16)],
    [p.FUSE_GETLK, file, lockBody(1n, 1, 0n, 9n)],
    [p.FUSE_SETLK, file, lockBody(1n, 1, 0n, 9n)],
    [p.FUSE_CREATE, 1, createBody('created')],
    [p.FUSE_INTERRUPT, 0, Buffer.alloc(8)],
    [p.FUSE_DESTROY, 0, Buffer.alloc(0)],
    [p.FUSE_NOTIFY_REPLY, 2, Buffer.alloc(40)],
    [p.FUSE_BATCH_FORGET, 0, Buffer.alloc(24, 1)],
    [p.FUSE_FALLOCATE, file, Buffer.alloc(32)],
  ];
  return bodies.map(([opcode, node, body]) => k.request(opcode, node, body));
}

const SILENT = new Set([p.FUSE_FORGET, p.FUSE_BATCH_FORGET, p.FUSE_INTERRUPT, p.FUSE_NOTIFY_REPLY]);

const hostile = fc.oneof(
  fc.record({ kind: fc.constant('random' as const), bytes: fc.uint8Array({ maxLength: 200 }) }),
  fc.record({
    kind: fc.constant('mutated' as const),
    which: fc.nat(),
    cut: fc.option(fc.nat({ max: 200 })),
    honest: fc.boolean(),
    flips: fc.array(fc.tuple(fc.nat({ max: 250 }), fc.nat({ max: 255 })), { maxLength: 6 }),
  }),
);

test('hostile bytes: never an exception, never two replies, always one where one is due', () => {
  fc.assert(
    fc.property(fc.array(hostile, { maxLength: 30 }), fc.boolean(), (inputs, sluice) => {
      const k = new SyntheticKernel(sluice ? 'sluice' : 'kernel');
      try {
        k.init();
        const file = k.create('file');
        const real = realRequests(k, file);
        for (const input of inputs) present(k, real, input);
        assert.equal(k.logged, [], 'no mistake of ours was caught');
        assert.equal(readdirSync(k.folder).sort(), ['backing', 'nodes', 'orphans'], 'nothing left the folder');
      } finally {
        k.close();
      }
    }),
    { numRuns: 300 },
  );
});

type Hostile = typeof hostile extends fc.Arbitrary<infer T> ? T : never;

function present(k: SyntheticKernel, real: readonly Buffer[], input: Hostile): void {
  let bytes: Buffer;
  if (input.kind === 'random') bytes = Buffer.from(input.bytes);
  else {
    bytes = Buffer.from(real[input.which % real.length]!);
    for (const [at, value] of input.flips) if (at < bytes.length) bytes[at] = value;
    if (input.cut !== null) bytes = bytes.subarray(0, input.cut);
    if (input.honest && bytes.length >= 4) bytes.writeUInt32LE(bytes.length, 0);
  }
  // As the kernel does it: a large buffer with old bytes behind the request.
  const buffer = Buffer.alloc(4096, 0x41);
  bytes.copy(buffer);
  const before = k.replies.length;
  const waiting = k.session.waiting;
  k.session.handle(buffer, bytes.length);
  const replies = k.replies.length - before;
  const opcode = bytes.length >= 40 ? bytes.readUInt32LE(4) : 0;
  if (bytes.length < 40 || SILENT.has(opcode)) assert.is(replies, 0, `opcode ${opcode}`);
  else assert.is(replies + k.session.waiting - waiting, 1, `opcode ${opcode}`);
  for (const reply of k.replies.slice(before)) {
    assert.is(reply.unique, bytes.readBigUInt64LE(8));
    assert.ok(reply.errno >= 0 && reply.errno <= 133);
    if (reply.errno !== 0) assert.is(reply.body.length, 0);
  }
}

test.run();
