import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Backing } from '../../../../src/fuse/backing.js';
import { Descriptors } from '../../../../src/fuse/descriptors.js';
import { LockFile } from '../../../../src/fuse/lock-file.js';
import { LockTable } from '../../../../src/fuse/lock-table.js';
import {
  boundRecord,
  goneRecord,
  movingRecord,
  NodeLog,
  nextRecord,
  orphanedRecord,
  passedRecord,
} from '../../../../src/fuse/node-log.js';
import { NodeTable } from '../../../../src/fuse/nodes.js';
import { takeOver } from '../../../../src/fuse/takeover.js';
import { PassiveWatcher } from '../../../fuse/support/passive-watcher.js';
import type { Random } from '../random.js';
import { mustHold, type Target, type TargetOpener } from '../target.js';

const CANARY = 'not to be touched';
const MAX_BACKING_ID = 2 ** 31 - 1;

/** The log of nodes, by which the next process takes the mount over. */
export const nodeLog: TargetOpener = {
  open(folder): Target {
    const path = join(folder, 'nodes');
    const canary = join(folder, 'canary');
    writeFileSync(canary, CANARY);
    return {
      seeds: [
        Buffer.from(
          nextRecord(9) +
            boundRecord(3, 'file', 1, 'a.db') +
            boundRecord(4, 'folder', 1, 'f') +
            boundRecord(5, 'file', 4, 'b.db') +
            movingRecord(5, 1, 'c.db') +
            boundRecord(5, 'file', 1, 'c\t.db') +
            passedRecord(5, 1) +
            orphanedRecord(6, 'o.db') +
            passedRecord(6, 2) +
            goneRecord(3),
        ),
        Buffer.from(boundRecord(3, 'file', 1, 'a.db') + passedRecord(3, 7) + movingRecord(3, 4, 'a.db-wal')),
        Buffer.from(passedRecord(3, 1) + boundRecord(3, 'file', 1, 'a.db') + passedRecord(3, 2 ** 31 - 1)),
        Buffer.from(movingRecord(4, 1, 'g') + boundRecord(4, 'folder', 1, 'f') + movingRecord(4, 1, 'g')),
        Buffer.alloc(0),
      ],
      dictionary: [
        '\t',
        '\n',
        '\\t',
        '\\',
        'folder',
        'file',
        'virtual',
        'other',
        '..',
        '../canary',
        '/',
        '.sluice-wake',
        'b\t',
        'p\t',
        '-1',
        '2147483647',
        '2147483648',
        '1e3',
        'NaN',
        '9007199254740991',
        '\u0000',
      ].map((word) => Buffer.from(word)),
      maxBytes: 2000,
      make: (random) => Buffer.from(Array.from({ length: random.small(20) }, () => randomRecord(random)).join('')),
      run(input) {
        const backing = freshBacking(folder);
        writeFileSync(path, input);
        const log = NodeLog.resume(path, backing.table.records);
        takeOver(backing, join(folder, 'orphans'));
        backing.table.record(log, true);
        checkTree(backing.table);
        const file = backing.table.add(backing.table.root, 'new.db', 'file');
        mustHold(backing.table.get(file.id) === file, 'a new node is not there');
        log.close();
        backing.descriptors.closeAll();
        checkAgain(folder, path, backing.table);
        mustHold(readFileSync(canary, 'utf8') === CANARY, 'a file outside was changed');
        mustHold(readdirSync(folder).length === 4, 'a file outside was made');
      },
    };
  },
};

function freshBacking(folder: string): Backing {
  for (const name of ['backing', 'orphans']) rmSync(join(folder, name), { recursive: true, force: true });
  mkdirSync(join(folder, 'backing', 'f'), { recursive: true });
  mkdirSync(join(folder, 'orphans'));
  for (const name of ['a.db', 'f/b.db']) writeFileSync(join(folder, 'backing', name), 'x');
  for (const id of [5, 6]) writeFileSync(join(folder, 'orphans', String(id)), 'x');
  const descriptors = new Descriptors(join(folder, 'backing'), join(folder, 'orphans'), 8, () => false);
  return {
    folder: join(folder, 'backing'),
    table: new NodeTable(descriptors),
    descriptors,
    watcher: new PassiveWatcher(),
  };
}

/** Every node hangs on the root, once, under the path that its name and folder make. */
function checkTree(table: NodeTable): void {
  mustHold(table.get(1) === table.root && table.get(2) === table.wake, 'root or wake file is gone');
  const seen = new Set<number>();
  for (const node of table.below(table.root)) {
    mustHold(!seen.has(node.id), 'a node hangs in two places');
    seen.add(node.id);
    mustHold(table.get(node.id) === node, 'a node in the tree has another id');
    mustHold(
      !/(^|\/)(\.{0,2})(\/|$)/.test(node.path) || node === table.root,
      `a path that leads elsewhere: ${node.path}`,
    );
    mustHold(seen.size < 10_000, 'a tree without end');
  }
  for (const node of table.all()) {
    // An i32 for the kernel, which counts from 1; 0: it is not passed on.
    if (node.kind === 'file') mustHold((node.backingId & MAX_BACKING_ID) === node.backingId, 'no backing id');
  }
}

/** The log that was written anew says the same. */
function checkAgain(folder: string, path: string, table: NodeTable): void {
  const again = new NodeTable(new Descriptors(join(folder, 'backing'), join(folder, 'orphans'), 8, () => false));
  NodeLog.resume(path, again.records).close();
  const names = (each: NodeTable): string =>
    [...new Set([...each.below(each.root), ...each.all()])]
      .map(
        (node) =>
          `${node.id} ${node.kind} ${node.path}${node.kind === 'file' ? ` ${node.orphan} ${node.backingId}` : ''}`,
      )
      .sort()
      .join('\n');
  mustHold(names(again) === names(table), 'a log that is written and read is another');
}

function randomRecord(random: Random): string {
  const id = (): number => random.below(8);
  const name = (): string => random.pick(['a.db', 'f', 'b.db', 'c', '..', '', 'x/y', '.sluice-wake', 'n\\t']);
  const kind = random.pick(['file', 'folder', 'other', 'virtual'] as const);
  const records = [
    nextRecord(id()),
    boundRecord(id(), kind, id(), name()),
    movingRecord(id(), id(), name()),
    orphanedRecord(id(), name()),
    goneRecord(id()),
    passedRecord(id(), random.pick([0, 1, 2, 3, 2 ** 31 - 1, 2 ** 31, -1, 1.5])),
  ];
  return random.pick([...records, boundRecord(id(), kind, id(), name())]);
}

/** Locks held by applications, in slots of 48 bytes. */
export const lockFile: TargetOpener = {
  open(folder): Target {
    const path = join(folder, 'locks');
    const table = new LockTable();
    const file = LockFile.create(path);
    table.record(file);
    for (let i = 0; i < 6; i++) table.set(3 + (i % 2), i, 0, i % 2, 10 * i, 10 * i + 9, 77, i);
    table.set(3, 0, 0, 2, 3, 5, 77);
    file.close();
    return {
      seeds: [readFileSync(path), Buffer.alloc(96)],
      maxBytes: 48 * 40,
      run(input) {
        writeFileSync(path, input);
        const found = resumed(path);
        for (const lock of found.locks) {
          mustHold(
            lock.start >= 0 && lock.start <= lock.end && (lock.type === 0 || lock.type === 1),
            'a lock that is none',
          );
        }
        const again = resumed(path);
        mustHold(
          JSON.stringify(sorted(again.locks)) === JSON.stringify(sorted(found.locks)),
          'locks that are written and read are others',
        );
      },
    };
  },
};

interface Lock {
  readonly id: number;
  readonly low: number;
  readonly high: number;
  readonly type: number;
  readonly start: number;
  readonly end: number;
}

function resumed(path: string): { locks: readonly Lock[] } {
  const bytes = readFileSync(path);
  const table = new LockTable();
  LockFile.resume(path, table).close();
  const locks: Lock[] = [];
  const ids = new Set<number>();
  for (let at = 0; at + 48 <= bytes.length; at += 48) ids.add(Number(bytes.readBigUInt64LE(at)));
  for (const id of ids) {
    for (const { ownerLow, ownerHigh, type, start, end } of table.held(id)) {
      locks.push({ id, low: ownerLow, high: ownerHigh, type, start, end });
    }
  }
  return { locks };
}

const sorted = (locks: readonly Lock[]): string[] => locks.map((lock) => JSON.stringify(lock)).sort();
