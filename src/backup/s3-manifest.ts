import { createHash } from 'node:crypto';
import { SluiceError } from '../errors.js';
import type { S3Connection } from './s3-client.js';
import { isConflict, isMissingBucket, s3Status } from './s3-errors.js';
import { MANIFEST_LIMIT_BYTES, readAll, type StoredManifest } from './store.js';

/** Where tags are something else than MD5 sums they never fit. */
const READ_LIMIT = 3;

/** What a write asks of the object that is there. */
interface Condition {
  readonly IfNoneMatch?: '*';
  readonly IfMatch?: string;
}

/** The second names no object's tag. */
const FALSE_CONDITIONS: readonly Condition[] = [{ IfNoneMatch: '*' }, { IfMatch: `"${'0'.repeat(32)}"` }];

/** A manifest in a bucket: one object, whose tag is its ETag. */
export class S3Manifest {
  private readonly address: string;

  constructor(
    private readonly connection: S3Connection,
    private readonly key: string,
  ) {
    this.address = `s3://${connection.bucket}/${key}`;
  }

  /**
   * A server may answer with the tag of the next version and the bytes of this one (versitygw does, if it is written
   * meanwhile), and who took one for the other would act on what is no longer so. Where tags are MD5 sums, as of most
   * objects in one part, that shows.
   */
  async read(known?: string): Promise<StoredManifest | 'same' | undefined> {
    for (let reads = 1; ; reads++) {
      const found = await this.readOnce(known);
      if (found === undefined || found === 'same' || fits(found) || reads === READ_LIMIT) return found;
    }
  }

  private async readOnce(known: string | undefined): Promise<StoredManifest | 'same' | undefined> {
    const condition = known === undefined ? {} : { IfNoneMatch: known };
    return await this.connection.run(`read ${this.address}`, async (client, sdk) => {
      try {
        const found = await client.send(
          new sdk.GetObjectCommand({ Bucket: this.connection.bucket, Key: this.key, ...condition }),
        );
        const bytes = await readAll(found.Body as AsyncIterable<Buffer>, MANIFEST_LIMIT_BYTES);
        return { bytes, tag: found.ETag ?? '' };
      } catch (error) {
        if (s3Status(error) === 304) return 'same';
        if (s3Status(error) === 404 && !isMissingBucket(error)) return undefined;
        throw error;
      }
    });
  }

  /** Returns its tag. Throws `STORE_CONFLICT`. */
  async write(bytes: Uint8Array, previous: string | undefined): Promise<string> {
    const { conditions } = this.connection;
    try {
      const tag = await conditions.write('PutObject', {
        guarded: () => this.put(bytes, previous === undefined ? { IfNoneMatch: '*' } : { IfMatch: previous }),
        look: async () => {
          if ((await this.tag()) !== previous) throw this.conflict();
        },
        plain: () => this.put(bytes, {}),
      });
      return await this.probe(bytes, tag);
    } catch (error) {
      const gone = s3Status(error) === 404 && previous !== undefined && !isMissingBucket(error);
      if (!isConflict(error) && !gone) throw error;
      // The answer to the first attempt may have been lost, and the second have met what the first did.
      const there = await this.read();
      if (there !== undefined && there !== 'same' && Buffer.compare(there.bytes, bytes) === 0) return there.tag;
      throw this.conflict();
    }
  }

  /**
   * Once for each connection: writes what is there already, under conditions that do not hold. A server that carries it
   * out heeds none. Returns the tag afterwards.
   */
  private async probe(bytes: Uint8Array, tag: string): Promise<string> {
    const { conditions } = this.connection;
    if (conditions.probed || !conditions.heeds('PutObject')) return tag;
    conditions.probed = true;
    for (const condition of FALSE_CONDITIONS) {
      try {
        const written = await this.put(bytes, condition);
        conditions.noteIgnored();
        return written;
      } catch (error) {
        // It was not found out: another time.
        if (!isConflict(error)) conditions.probed = false;
      }
    }
    return tag;
  }

  private async put(bytes: Uint8Array, condition: Condition): Promise<string> {
    const { bucket, encryption } = this.connection;
    const answer = await this.connection.run(`write ${this.address}`, (client, sdk) =>
      client.send(
        new sdk.PutObjectCommand({
          Bucket: bucket,
          Key: this.key,
          Body: bytes,
          ContentLength: bytes.length,
          ContentType: 'application/json',
          ...this.connection.digest(bytes),
          ...encryption,
          ...condition,
        }),
      ),
    );
    return answer.ETag ?? '';
  }

  /** Undefined if there is none. */
  private async tag(): Promise<string | undefined> {
    try {
      const head = await this.connection.run(`read ${this.address}`, (client, sdk) =>
        client.send(new sdk.HeadObjectCommand({ Bucket: this.connection.bucket, Key: this.key })),
      );
      return head.ETag;
    } catch (error) {
      if (s3Status(error) === 404) return undefined;
      throw error;
    }
  }

  private conflict(): SluiceError {
    return new SluiceError('STORE_CONFLICT', `cannot write ${this.address}: it was replaced by another writer`);
  }
}

function fits({ bytes, tag }: StoredManifest): boolean {
  const sum = /^"?([0-9a-f]{32})"?$/.exec(tag)?.[1];
  return sum === undefined || createHash('md5').update(bytes).digest('hex') === sum;
}
