import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  createKeyFile,
  openStore,
  ScheduledVerify,
  type ScheduledVerifyOptions,
  type StoreSettings,
  type VerifyEvent,
} from '../../src/backup/index.js';
import { bytesSource, compactLtx } from '../../src/ltx/index.js';
import { until } from '../support/until.js';
import { rewrite } from './layers.js';
import { bucketPlace, filledStore, folderPlace, type Place } from './scenario.js';
import { filesBelow, TestLog, type Workbench, withWorkbench } from './workbench.js';

/** A store of `app.db` up to TXID 8, and the trials of it, 20 ms apart. */
class Scene {
  readonly log = new TestLog();
  readonly events: VerifyEvent[] = [];
  readonly spool: string;
  storedTxid = 8;
  turns = 0;
  freeBytes = 1e12;
  private constructor(
    readonly place: Place,
    readonly config: StoreSettings,
    bench: Workbench,
    private readonly databases: ScheduledVerifyOptions['databases'],
  ) {
    this.spool = join(bench.folder, 'spool');
    mkdirSync(this.spool);
    this.verify = new ScheduledVerify({
      stores: [{ config, intervalMs: 20, stored: () => this.turn() }],
      databases: this.databases,
      spool: this.spool,
      log: this.log,
      onVerified: (event) => this.events.push(event),
      freeBytes: async () => this.freeBytes,
    });
    bench.onEnd(() => this.verify.stop());
  }

  readonly verify: ScheduledVerify;

  static async make(bench: Workbench, place: Place, more: Partial<StoreSettings> = {}): Promise<Scene> {
    const filled = { ...place, open: () => place.open(more.keyFile ?? undefined) };
    const { set } = await filledStore(bench, filled);
    return new Scene(place, { url: place.url, ...more }, bench, set);
  }

  /** One trial. */
  async next(): Promise<VerifyEvent> {
    const seen = this.events.length;
    this.turns = 1;
    await until('a trial', () => this.events.length > seen);
    return this.events.at(-1)!;
  }

  /** Nothing is stored as long as it is nobody's turn. */
  private turn(): Map<string, number> {
    const isTurn = this.turns-- > 0;
    return new Map(isTurn ? [['app.db', this.storedTxid]] : this.storedTxid === 0 ? [] : [['app.db', 0]]);
  }

  problems(): string[] {
    return this.verify.problems().map(({ code, subject, message }) => `${code} ${subject}: ${message}`);
  }

  level0(): string {
    const [path = ''] = filesBelow(join(this.place.folder, 'app.db/ltx/0'), '.ltx').slice(-1);
    return join(this.place.folder, 'app.db/ltx/0', path);
  }
}

function withScene(body: (scene: Scene) => Promise<void>): Promise<void> {
  return withWorkbench(async (bench) => body(await Scene.make(bench, folderPlace(bench))));
}

test('a backup that is damaged is a problem until it is right again', () =>
  withScene(async (scene) => {
    scene.verify.start();
    assert.ok((await scene.next()).ok);
    assert.equal(scene.problems(), []);
    assert.match(scene.log.lines.join('\n'), /restored on trial, and is right/);
    const path = scene.level0();
    const whole = readFileSync(path);
    writeFileSync(path, Buffer.from(whole).fill(0, 120, 140));
    assert.not.ok((await scene.next()).ok);
    const [problem = ''] = scene.problems();
    assert.match(problem, /^VERIFY_FAILED file:.*\/app\.db: app\.db: .*0000000000000008\.ltx is damaged/);
    const since = scene.verify.problems()[0]!.since;
    assert.not.ok((await scene.next()).ok);
    assert.is(scene.verify.problems()[0]!.since, since);
    writeFileSync(path, whole);
    assert.ok((await scene.next()).ok);
    assert.equal(scene.problems(), []);
    await scene.verify.stop();
    assert.equal(readdirSync(scene.spool), []);
  }));

test('a damaged file that other files lead around is a problem; one that the manifest does not name is none', () =>
  withScene(async (scene) => {
    const folder = join(scene.place.folder, 'app.db');
    const store = scene.place.open().database('app.db');
    const all = filesBelow(join(folder, 'ltx'), '.ltx').sort((a, b) => Number(b[0]) - Number(a[0]) || (a < b ? -1 : 1));
    const pieces: Buffer[] = [];
    compactLtx(
      all.map((path) => bytesSource(readFileSync(join(folder, 'ltx', path)))),
      (piece) => pieces.push(Buffer.from(piece)),
    );
    await store.put({ level: 9, minTxid: 1, maxTxid: 99, timestampMs: 1 }, Buffer.concat(pieces));
    scene.verify.start();
    assert.ok((await scene.next()).ok, scene.problems().join());
    assert.equal(scene.problems(), []);
    rmSync(join(folder, 'ltx/9/0000000000000001-0000000000000063.ltx'));
    // Without a manifest the newest snapshot counts.
    for (const name of filesBelow(folder, '.json')) rmSync(join(folder, name));
    await store.put({ level: 9, minTxid: 1, maxTxid: 8, timestampMs: 1 }, Buffer.concat(pieces));
    assert.ok((await scene.next()).ok, scene.problems().join());
    const path = join(folder, 'ltx/9/0000000000000001-0000000000000008.ltx');
    writeFileSync(path, Buffer.concat(pieces).fill(0, 120, 140));
    const event = await scene.next();
    assert.not.ok(event.ok);
    assert.match(
      scene.problems().join(),
      /^VERIFY_FAILED file:.*\/app\.db: app\.db: .*restored by other files.* level 9, 0000000000000001-0000000000000008\.ltx: /,
    );
    assert.not.match(scene.log.lines.at(-1)!, /and is right/);
    writeFileSync(path, Buffer.concat(pieces));
    assert.ok((await scene.next()).ok);
    assert.equal(scene.problems(), []);
  }));

test('what SQLite finds malformed is a problem though all checksums are right', () =>
  withScene(async (scene) => {
    const store = scene.place.open().database('app.db');
    // Beside a manifest, what it does not name would be left out.
    for (const name of filesBelow(join(scene.place.folder, 'app.db'), '.json')) {
      rmSync(join(scene.place.folder, 'app.db', name));
    }
    const [snapshot] = filesBelow(join(scene.place.folder, 'app.db/ltx/9'), '.ltx');
    const bytes = readFileSync(join(scene.place.folder, 'app.db/ltx/9', snapshot!));
    const malformed = rewrite(bytes, (_, pages) => ({
      header: { maxTxid: 99, postApply: 0n },
      pages: pages.map(({ pgno, data }) => ({ pgno, data: pgno === 1 ? data : data.fill(0xff) })),
    }));
    await store.put({ level: 9, minTxid: 1, maxTxid: 99, timestampMs: 1 }, malformed);
    scene.verify.start();
    assert.not.ok((await scene.next()).ok);
    assert.match(scene.problems().join('\n'), /VERIFY_FAILED .* SQLite finds the database malformed/);
  }));

test('without room nothing is tried, and that is a problem', () =>
  withScene(async (scene) => {
    scene.freeBytes = 200 * 1024 * 1024;
    scene.verify.start();
    assert.not.ok((await scene.next()).ok);
    assert.match(scene.problems().join(), /^VERIFY_NO_ROOM .* are needed in .*spool, 200 MiB are free/);
    scene.freeBytes = 1e12;
    assert.ok((await scene.next()).ok);
    assert.equal(scene.problems(), []);
  }));

test('a backup that is older than what was stored, or of another history', () =>
  withScene(async (scene) => {
    scene.storedTxid = 9;
    scene.verify.start();
    assert.not.ok((await scene.next()).ok);
    assert.match(scene.problems().join(), /leads up to TXID 0000000000000008 only, and 0000000000000009 was stored/);
    // Nothing stored yet is nothing to try, and what was wrong is forgotten.
    scene.storedTxid = 0;
    await until('it is forgotten', () => scene.problems().length === 0);
    scene.storedTxid = 8;
    const path = scene.level0();
    writeFileSync(
      path,
      rewrite(readFileSync(path), () => ({ header: { preApply: 0n, postApply: 0n } })),
    );
    assert.ok((await scene.next()).ok, 'files that name no checksum');
  }));

test('a backup of another history than the database here', () =>
  withWorkbench(async (bench) => {
    const { set } = await filledStore(bench, folderPlace(bench));
    const url = `${folderPlace(bench).url}-2`;
    await filledStore(bench, { url, folder: '', env: {}, open: () => openStore(url) });
    const verify = new ScheduledVerify({
      stores: [{ config: { url }, intervalMs: 20, stored: () => new Map([['app.db', 8]]) }],
      databases: set,
      spool: bench.folder,
      log: new TestLog(),
    });
    bench.onEnd(() => verify.stop());
    verify.start();
    await until('it is told', () => verify.problems().some(({ message }) => message.includes('the database had')));
  }));

test('a bucket, encrypted', () =>
  withWorkbench(async (bench) => {
    const place = await bucketPlace(bench);
    if (place === undefined) return;
    const keyFile = join(bench.folder, 'backup.key');
    createKeyFile(keyFile);
    const credentials = { accessKeyId: 'tester', secretAccessKey: 'testing-secret' };
    const scene = await Scene.make(bench, place, { keyFile, ...credentials });
    scene.verify.start();
    assert.ok((await scene.next()).ok, scene.problems().join());
  }));

test('stopped in the middle: nothing is left, and it is no failure', () =>
  withScene(async (scene) => {
    scene.turns = 1;
    scene.verify.start();
    await until('one runs', () => readdirSync(scene.spool).length > 0);
    await scene.verify.stop();
    assert.equal(readdirSync(scene.spool), []);
    const seen = scene.events.length;
    assert.equal(scene.problems(), []);
    assert.ok(scene.events.every(({ ok }) => ok));
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.is(scene.events.length, seen);
  }));

test.run();
