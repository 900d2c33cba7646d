import type { GetObjectCommandOutput } from '@aws-sdk/client-s3';
import { SluiceError } from '../errors.js';
import { formatTxid } from '../ltx/index.js';
import {
  compareFiles,
  describeFile,
  type FileKey,
  formatObjectKey,
  formatObjectLevel,
  parseObjectKey,
} from './file-names.js';
import { S3Connection, type S3Options } from './s3-client.js';
import { deleteObjects } from './s3-deletes.js';
import { isMissingBucket, s3Error, s3Status } from './s3-errors.js';
import { S3Manifest } from './s3-manifest.js';
import { uploadObject } from './s3-upload.js';
import {
  type ByteRange,
  type ListRange,
  type NewStoreFile,
  readInto,
  STORE_CHUNK_BYTES,
  type Store,
  type StoreBody,
  type StoredManifest,
  type StoreFile,
  type StoreRoot,
} from './store.js';
import { databaseUrl, type S3Url } from './urls.js';

/** The object's metadata that holds the LTX timestamp, RFC 3339: Litestream's name for it. */
const TIMESTAMP_METADATA = 'litestream-timestamp';
/** How often a download that broke off is taken up again without having got further. */
const RESUME_LIMIT = 3;
const MANIFEST = 'manifest.json';
/** LIST requests that finding names for a message may cost. */
const NAME_LIST_LIMIT = 50;

/** A place in a bucket: `<path>/<database name>/<level, 4 hex digits>/<min16>-<max16>.ltx`. */
export class S3StoreRoot implements StoreRoot {
  private readonly connection: S3Connection;

  constructor(
    readonly url: string,
    private readonly place: S3Url,
    options: S3Options = {},
    env: NodeJS.ProcessEnv = process.env,
  ) {
    this.connection = new S3Connection(place, options, env);
  }

  database(name: string): Store {
    const path = [this.place.path, name].filter((part) => part !== '').join('/');
    return new S3Store(databaseUrl(this.url, name), this.connection, path === '' ? '' : `${path}/`);
  }

  async databaseNames(limit: number, known?: ReadonlySet<string>): Promise<string[]> {
    const root = this.place.path === '' ? '' : `${this.place.path}/`;
    const queue = [root];
    const names: string[] = [];
    const listLimit = known === undefined ? NAME_LIST_LIMIT : NAME_LIST_LIMIT + 2 * limit;
    for (let lists = 0; queue.length > 0 && lists < listLimit && names.length < limit; ) {
      const prefix = queue.shift()!;
      if (known?.has(prefix.slice(root.length, -1)) === true) {
        names.push(prefix.slice(root.length, -1));
        continue;
      }
      lists++;
      const folders = await this.folders(prefix);
      if (prefix !== root && folders.some((folder) => /^000[0-9]\/$/.test(folder.slice(prefix.length)))) {
        names.push(prefix.slice(root.length, -1));
      } else {
        queue.push(...folders);
      }
    }
    return names.sort();
  }

  warning(): SluiceError | undefined {
    return this.connection.conditions.warning;
  }

  close(): void {
    this.connection.close();
  }

  private async folders(prefix: string): Promise<string[]> {
    const folders: string[] = [];
    let token: string | undefined;
    do {
      const more = token === undefined ? {} : { ContinuationToken: token };
      const page = await this.connection.run(`list s3://${this.connection.bucket}/${prefix}`, (client, sdk) =>
        client.send(
          new sdk.ListObjectsV2Command({ Bucket: this.connection.bucket, Prefix: prefix, Delimiter: '/', ...more }),
        ),
      );
      for (const { Prefix = '' } of page.CommonPrefixes ?? []) if (Prefix !== '') folders.push(Prefix);
      token = page.NextContinuationToken;
    } while (token !== undefined);
    return folders;
  }
}

/** One database's objects. */
export class S3Store implements Store {
  private readonly manifest: S3Manifest;

  constructor(
    readonly url: string,
    private readonly connection: S3Connection,
    /** Empty, or ending in a slash. */
    private readonly prefix: string,
  ) {
    this.manifest = new S3Manifest(connection, prefix + MANIFEST);
  }

  async *list(range: ListRange): AsyncGenerator<StoreFile, void, undefined> {
    const { firstLevel, lastLevel, afterMinTxid = 0 } = range;
    const first = `${this.prefix}${formatObjectLevel(firstLevel)}/`;
    // `~` sorts behind every max TXID, so all files with this min TXID are passed over.
    const startAfter = afterMinTxid > 0 ? `${first}${formatTxid(afterMinTxid)}-~` : first;
    for await (const file of this.listObjects(firstLevel === lastLevel ? first : this.prefix, startAfter)) {
      if (file.level > lastLevel) return;
      // Not every server knows where to start.
      if (file.level > firstLevel || (file.level === firstLevel && file.minTxid > afterMinTxid)) yield file;
    }
  }

  async listAll(): Promise<StoreFile[]> {
    const files: StoreFile[] = [];
    for await (const file of this.listObjects(this.prefix, undefined)) files.push(file);
    return files.sort(compareFiles);
  }

  async put(file: NewStoreFile, body: StoreBody): Promise<void> {
    const upload = {
      key: this.prefix + formatObjectKey(file),
      metadata: { [TIMESTAMP_METADATA]: new Date(file.timestampMs).toISOString() },
      sizeEstimateBytes: file.sizeEstimateBytes,
    };
    await uploadObject(this.connection, upload, body);
  }

  read(file: FileKey, offsetBytes: number, target: Uint8Array): Promise<number> {
    return readInto(this.get(file, { offsetBytes, lengthBytes: target.length }), target);
  }

  async *get(file: FileKey, range?: ByteRange): AsyncGenerator<Uint8Array, void, undefined> {
    if (range?.lengthBytes === 0) return;
    const download = {
      file,
      offset: range?.offsetBytes ?? 0,
      end: undefined as number | undefined,
      etag: undefined as string | undefined,
    };
    if (range?.lengthBytes !== undefined) download.end = download.offset + range.lengthBytes;
    for (let failures = 0; ; ) {
      const before = download.offset;
      try {
        const answer = await this.getObject(download);
        if (answer === undefined) return;
        download.etag = answer.ETag;
        for await (const piece of answer.Body as AsyncIterable<Buffer>) {
          download.offset += piece.length;
          yield* cut(piece);
        }
        return;
      } catch (error) {
        const failure = s3Error(error, `cannot read ${this.address(file)}`);
        failures = download.offset > before ? 1 : failures + 1;
        if (failure.code !== 'STORE_FAILED' || failures > RESUME_LIMIT) throw failure;
      }
    }
  }

  async delete(files: readonly FileKey[]): Promise<void> {
    await deleteObjects(
      this.connection,
      files.map((file) => this.prefix + formatObjectKey(file)),
    );
  }

  async setAside(file: FileKey): Promise<void> {
    const { bucket, encryption } = this.connection;
    const from = `${this.prefix}${formatObjectKey(file)}`;
    const Key = `${this.prefix}set-aside/${formatObjectKey(file)}.${Date.now()}`;
    const CopySource = [bucket, ...from.split('/')].map(encodeURIComponent).join('/');
    try {
      await this.connection.run(`set ${this.address(file)} aside`, (client, sdk) =>
        client.send(new sdk.CopyObjectCommand({ Bucket: bucket, Key, CopySource, ...encryption })),
      );
    } catch (error) {
      if (s3Status(error) === 404 && !isMissingBucket(error)) return;
      throw error;
    }
    await this.delete([file]);
  }

  readManifest(known?: string): Promise<StoredManifest | 'same' | undefined> {
    return this.manifest.read(known);
  }

  writeManifest(bytes: Uint8Array, previous: string | undefined): Promise<string> {
    return this.manifest.write(bytes, previous);
  }

  /** Undefined where the range begins at or behind the object's end. */
  private async getObject(part: {
    file: FileKey;
    offset: number;
    end: number | undefined;
    etag: string | undefined;
  }): Promise<GetObjectCommandOutput | undefined> {
    const what = `read ${this.address(part.file)} (${describeFile(part.file)})`;
    const whole = part.offset === 0 && part.end === undefined;
    return await this.connection.run(what, async (client, sdk) => {
      try {
        return await client.send(
          new sdk.GetObjectCommand({
            Bucket: this.connection.bucket,
            Key: this.prefix + formatObjectKey(part.file),
            ...(!whole && { Range: `bytes=${part.offset}-${part.end === undefined ? '' : part.end - 1}` }),
            ...(part.etag !== undefined && { IfMatch: part.etag }),
          }),
        );
      } catch (error) {
        if (s3Status(error) === 416) return undefined;
        if (s3Status(error) === 412)
          throw new SluiceError('STORE_NOT_FOUND', `cannot ${what}: it was replaced meanwhile`);
        throw error;
      }
    });
  }

  private async *listObjects(
    prefix: string,
    startAfter: string | undefined,
  ): AsyncGenerator<StoreFile, void, undefined> {
    let token: string | undefined;
    do {
      const page = await this.connection.run(`list s3://${this.connection.bucket}/${prefix}`, (client, sdk) =>
        client.send(
          new sdk.ListObjectsV2Command({
            Bucket: this.connection.bucket,
            Prefix: prefix,
            ...(token !== undefined
              ? { ContinuationToken: token }
              : startAfter !== undefined && { StartAfter: startAfter }),
          }),
        ),
      );
      for (const object of page.Contents ?? []) {
        const key = parseObjectKey((object.Key ?? '').slice(this.prefix.length));
        if (key !== undefined)
          yield { ...key, sizeBytes: object.Size ?? 0, timeMs: object.LastModified?.getTime() ?? 0 };
      }
      const next = page.NextContinuationToken;
      if (next !== undefined && next === token)
        throw new SluiceError(
          'STORE_FAILED',
          `cannot list s3://${this.connection.bucket}/${prefix}: the list has no end`,
        );
      token = next;
    } while (token !== undefined);
  }

  private address(file: FileKey): string {
    return `s3://${this.connection.bucket}/${this.prefix}${formatObjectKey(file)}`;
  }
}

function* cut(piece: Uint8Array): Generator<Uint8Array, void, undefined> {
  if (piece.length <= STORE_CHUNK_BYTES) yield piece;
  else for (let at = 0; at < piece.length; at += STORE_CHUNK_BYTES) yield piece.subarray(at, at + STORE_CHUNK_BYTES);
}
