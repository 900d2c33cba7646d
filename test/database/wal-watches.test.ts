import { existsSync, mkdtempSync, readFileSync, rmSync, watch } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { WalWatches, type WalWatchesOptions } from '../../src/database/wal-watches.js';
import type { Looked } from '../../src/database/worker-messages.js';
import { parseWalIndexHeader } from '../../src/sqlite/index.js';
import { waitFor } from '../support/cluster.js';

const test = suite('WalWatches');

/** SQLite writes a database; the test is the worker, and main's capture. */
class Rig {
  readonly folder = mkdtempSync(join(tmpdir(), 'sluice-wal-watches-'));
  readonly path = join(this.folder, 'a.db');
  readonly sqlite = new Database(this.path);
  readonly watches: WalWatches;
  asked = 0;
  taken: number[] = [];
  takes = true;

  constructor(more: Partial<WalWatchesOptions> = {}) {
    this.sqlite.pragma('journal_mode=WAL');
    this.sqlite.pragma('wal_autocheckpoint=0');
    this.sqlite.exec('CREATE TABLE t(a)');
    this.watches = new WalWatches({
      ask: () => {
        this.asked++;
      },
      noticed: () => undefined,
      published: (_slot, { frames }) => {
        if (this.takes) this.taken.push(frames);
        return this.takes;
      },
      ...more,
    });
    this.watches.start();
    this.watches.begin(0, `${this.path}-wal`);
  }

  insert(n = 1): void {
    const statement = this.sqlite.prepare("INSERT INTO t VALUES ('row')");
    for (let i = 0; i < n; i++) statement.run();
  }

  get frames(): number {
    return parseWalIndexHeader(readFileSync(`${this.path}-shm`))!.frames;
  }

  answer(looked: Partial<Looked> = {}): void {
    this.watches.looked(0, { frames: 0, more: false, published: undefined, ...looked });
  }

  /** Until the worker is asked once more than `before` times. */
  async untilAsked(before: number): Promise<void> {
    await waitFor(() => this.asked === before + 1, 5000, 'a question');
  }

  close(): void {
    this.watches.close();
    this.sqlite.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function withRig(name: string, body: (rig: Rig) => Promise<void>, options: Partial<WalWatchesOptions> = {}): void {
  test(name, async () => {
    const rig = new Rig(options);
    try {
      await body(rig);
    } finally {
      rig.close();
    }
  });
}

withRig(
  'finds out what was written without a notice: the kernel drops them when there are very many',
  async (rig) => {
    rig.answer({ published: rig.frames });
    rig.insert();
    await waitFor(() => rig.taken.includes(rig.frames), 5000, 'the commit to be seen');
  },
  { watch: (path, options) => watch(path, options), checkMs: 20 },
);

withRig('asks at the beginning, and then takes what the wal-index says', async (rig) => {
  assert.is(rig.asked, 1);
  rig.insert();
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.is(rig.asked, 1, 'it was not answered');
  rig.answer({ published: 2 });
  await waitFor(() => rig.taken.length === 1);
  assert.equal(rig.taken, [3]);
  rig.insert();
  await waitFor(() => rig.taken.length === 2);
  assert.equal(rig.taken, [3, 4]);
  // What was written after it may be published without another notice.
  await rig.untilAsked(1);
});

withRig('asks for each write where only the worker can tell', async (rig) => {
  rig.answer();
  rig.insert();
  await rig.untilAsked(1);
  rig.answer();
  rig.insert();
  await rig.untilAsked(2);
  assert.equal(rig.taken, []);
});

withRig('asks when the WAL began afresh, and when what it says is refused', async (rig) => {
  rig.insert(3);
  rig.answer({ published: 5 });
  rig.sqlite.pragma('wal_checkpoint(RESTART)');
  rig.insert();
  await rig.untilAsked(1);
  assert.equal(rig.taken, []);
  rig.takes = false;
  rig.answer({ published: 1 });
  rig.insert();
  await rig.untilAsked(2);
});

withRig('asks again, ever more rarely, while something may soon be a commit', async (rig) => {
  for (let n = 1; n < 4; n++) {
    rig.answer({ more: true });
    await rig.untilAsked(n);
  }
});

withRig('looks by the clock while there is much, and listens again afterwards', async (rig) => {
  rig.answer({ published: 2 });
  rig.insert(2000);
  await waitFor(() => rig.taken.at(-1) === rig.frames);
  // Nothing more came: it asks once, then listens.
  await rig.untilAsked(1);
  rig.answer({ published: rig.frames });
  // What came before it listened was not noticed.
  await rig.untilAsked(2);
  rig.answer({ published: rig.frames });
  rig.insert();
  await waitFor(() => rig.taken.at(-1) === rig.frames && rig.taken.length === 2);
});

withRig('a WAL that is gone is of no interest', async (rig) => {
  rig.answer({ published: 2 });
  rig.watches.end(0);
  rig.insert();
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(rig.taken, []);
  assert.is(rig.asked, 1);
});

test('a file that cannot be watched is looked at now and then', async () => {
  let asked = 0;
  const watches = new WalWatches({
    ask: () => {
      asked++;
      watches.looked(0, { frames: 0, more: false, published: undefined });
    },
    noticed: () => undefined,
    published: () => false,
  });
  watches.start();
  try {
    const path = join(tmpdir(), 'sluice-no-such-folder', 'a.db-wal');
    assert.not(existsSync(path));
    watches.begin(0, path);
    await waitFor(() => asked > 2);
  } finally {
    watches.close();
  }
});

test.run();
