import { join } from 'node:path';
import type { FileKey, Store } from '../../src/backup/index.js';
import { formatFileName } from '../../src/backup/index.js';
import {
  bytesSource,
  type Checksum,
  compactLtx,
  encodeLtx,
  type LtxHeader,
  type LtxPage,
  LtxReader,
} from '../../src/ltx/index.js';
import type { FakeDatabase } from './fake-databases.js';
import { folderPlace, insert, newApp, type Place } from './scenario.js';
import type { Workbench } from './workbench.js';

/** A history of `app.db`, of which any files can be put in a store: as uploads, compactions and snapshots would make them. */
export class Layers {
  readonly app: FakeDatabase;
  readonly store: Store;
  private readonly images = new Map<number, Uint8Array>();

  constructor(
    bench: Workbench,
    readonly place: Place = folderPlace(bench),
    keyFile?: string,
  ) {
    this.app = newApp(bench).app;
    this.store = place.open(keyFile).database('app.db');
  }

  /** Commits until `txid`: rows come and go, and the file grows and shrinks. */
  async writeUpTo(txid: number): Promise<void> {
    await this.keepImage();
    while (this.app.position.txid < txid) {
      const at = this.app.position.txid;
      if (at % 5 === 4) this.app.write('delete from t where id % 3 = 0; vacuum');
      else if (at % 3 === 0) this.app.write(`update t set x = hex(randomblob(50)) where id < ${10 * at}`);
      else this.app.write(insert(at === 1 ? 400 : 60));
      await this.keepImage();
    }
  }

  /** The LTX file that holds these transactions. */
  bytes(minTxid: number, maxTxid: number): Uint8Array {
    if (minTxid === 1) return this.images.get(maxTxid)!;
    const chunks: Uint8Array[] = [];
    const inputs = [];
    for (let txid = minTxid; txid <= maxTxid; txid++) inputs.push(bytesSource(this.app.log.get(txid)!.bytes()));
    compactLtx(inputs, (chunk) => chunks.push(Uint8Array.from(chunk)));
    return Buffer.concat(chunks);
  }

  /** `0:2-5` is level 0, TXID 2 to 5. */
  async put(...names: string[]): Promise<void> {
    for (const name of names) {
      const file = parse(name);
      await this.store.put({ ...file, timestampMs: 1_700_000_000_000 }, this.bytes(file.minTxid, file.maxTxid));
    }
  }

  /** Instead of what such a file would hold. */
  async putBytes(name: string, bytes: Uint8Array): Promise<void> {
    await this.store.delete([parse(name)]);
    await this.store.put({ ...parse(name), timestampMs: 1_700_000_000_000 }, bytes);
  }

  async remove(...names: string[]): Promise<void> {
    await this.store.delete(names.map(parse));
  }

  pathOf(name: string): string {
    const file = parse(name);
    return join(this.place.folder, 'app.db/ltx', String(file.level), formatFileName(file));
  }

  checksum(txid: number): Checksum {
    return this.app.log.get(txid)!.after.checksum;
  }

  private async keepImage(): Promise<void> {
    const snapshot = await this.app.snapshot();
    const chunks: Uint8Array[] = [];
    for await (const chunk of snapshot.chunks()) chunks.push(chunk);
    this.images.set(snapshot.position.txid, Buffer.concat(chunks));
  }
}

/** An LTX file made anew from another's: its checksums are right again, whatever was changed. */
export function rewrite(
  bytes: Uint8Array,
  change: (header: LtxHeader, pages: LtxPage[]) => { header?: Partial<LtxHeader>; pages?: LtxPage[] },
): Uint8Array {
  const reader = new LtxReader(bytesSource(bytes));
  const pages: LtxPage[] = [];
  for (;;) {
    const data = new Uint8Array(reader.header.pageSize);
    const pgno = reader.nextPage(data);
    if (pgno === 0) break;
    pages.push({ pgno, data });
  }
  const changed = change(reader.header, pages);
  return encodeLtx({ ...reader.header, ...changed.header }, changed.pages ?? pages);
}

function parse(name: string): FileKey {
  const [level, minTxid, maxTxid] = name.split(/[:-]/).map(Number) as [number, number, number];
  return { level, minTxid, maxTxid };
}
