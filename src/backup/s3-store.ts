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
import { S3Connection, type S3Options, s3Error, s3Status } from './s3-client.js';
import { uploadObject } from './s3-upload.js';
import {
  type ByteRange,
  type ListRange,
  type NewStoreFile,
  STORE_CHUNK_BYTES,
  type Store,
  type StoreBody,
  type StoreFile,
  type StoreRoot,
} from './store.js';
import { databaseUrl, type S3Url } from './urls.js';

/** The object's metadata that holds the LTX timestamp, RFC 3339: Litestream's name for it. */
const TIMESTAMP_METADATA = 'litestream-timestamp';
/** How often a download that broke off is taken up again without having got further. */
const RESUME_LIMIT = 3;
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

  async databaseNames(limit: number): Promise<string[]> {
    const root = this.place.path === '' ? '' : `${this.place.path}/`;
    const queue = [root];
    const names: string[] = [];
    for (let lists = 0; queue.length > 0 && lists < NAME_LIST_LIMIT && names.length < limit; lists++) {
      const prefix = queue.shift()!;
      const folders = await this.folders(prefix);
      if (prefix !== root && folders.some((folder) => /^000[0-9]\/$/.test(folder.slice(prefix.length)))) {
        names.push(prefix.slice(root.length, -1));
      } else {
        queue.push(...folders);
      }
    }
    return names.sort();
  }

  close(): void {
    this.connection.close();
  }

  private async folders(prefix: string): Promise<string[]> {
    const page = await this.connection.run(`list s3://${this.connection.bucket}/${prefix}`, (client, sdk) =>
      client.send(new sdk.ListObjectsV2Command({ Bucket: this.connection.bucket, Prefix: prefix, Delimiter: '/' })),
    );
    return (page.CommonPrefixes ?? []).map((common) => common.Prefix ?? '').filter((folder) => folder !== '');
  }
}

/** One database's objects. */
export class S3Store implements Store {
  constructor(
    readonly url: string,
    private readonly connection: S3Connection,
    /** Empty, or ending in a slash. */
    private readonly prefix: string,
  ) {}

  async *list(range: ListRange): AsyncGenerator<FileKey, void, undefined> {
    const { firstLevel, lastLevel, afterMinTxid = 0 } = range;
    const first = `${this.prefix}${formatObjectLevel(firstLevel)}/`;
    // `~` sorts behind every max TXID, so all files with this min TXID are passed over.
    const startAfter = afterMinTxid > 0 ? `${first}${formatTxid(afterMinTxid)}-~` : first;
    for await (const file of this.listObjects(firstLevel === lastLevel ? first : this.prefix, startAfter)) {
      if (file.level > lastLevel) return;
      yield file;
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

  async delete(file: FileKey): Promise<void> {
    const Key = this.prefix + formatObjectKey(file);
    await this.connection.run(`delete ${this.address(file)}`, (client, sdk) =>
      client.send(new sdk.DeleteObjectCommand({ Bucket: this.connection.bucket, Key })),
    );
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
      token = page.NextContinuationToken;
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
