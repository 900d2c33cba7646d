import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { SluiceError } from '../errors.js';
import type { S3Connection } from './s3-client.js';
import { isConflict, isUncertain, s3Error, s3Status } from './s3-errors.js';
import { STORE_CHUNK_BYTES, type StoreBody } from './store.js';

/** A body of at most this goes up in one request; a larger one in parts of at least this. S3's own minimum is 5 MiB. */
export const PART_BYTES = 8 * 1024 * 1024;
/** S3 takes 10,000; the estimate of a streamed body's size may be a little short. */
const PART_COUNT_TARGET = 9_000;
/** S3's largest part is 5 GiB; ours must fit in memory. Reached by bodies over 2 TB. */
const PART_BYTES_LIMIT = 256 * 1024 * 1024;

/** One object being written. */
export interface S3Upload {
  readonly key: string;
  readonly metadata: Record<string, string>;
  readonly sizeEstimateBytes: number | undefined;
}

/**
 * Metadata that tells an object of this upload from any other of its name: an answer may be lost, and the request sent
 * again. For one request the hash of the bytes, so that the same bytes are found by a later upload too.
 */
const UPLOAD_METADATA = 'sluice-upload';

/**
 * Writes a new object, whole or not at all. Holds one part in memory at a time. Throws `STORE_EXISTS` if there is another
 * one of its name.
 */
export async function uploadObject(connection: S3Connection, upload: S3Upload, body: StoreBody): Promise<void> {
  let parts: AsyncGenerator<Part, void, undefined> | undefined;
  try {
    parts = splitParts(body, partBytes(await bodySize(body, upload.sizeEstimateBytes)));
    const first = await parts.next();
    const firstPart = first.done === true ? EMPTY_PART : first.value;
    if (firstPart.last) await new ObjectWrite(connection, upload, hash(firstPart.bytes)).put(firstPart.bytes);
    else await new ObjectWrite(connection, upload, randomId()).putParts(firstPart.bytes, parts);
  } catch (error) {
    throw s3Error(error, `cannot write s3://${connection.bucket}/${upload.key}`);
  } finally {
    // What was not read to its end may have a file open.
    await parts?.return();
  }
}

/** One object on its way. */
class ObjectWrite {
  private readonly target: { readonly Bucket: string; readonly Key: string };
  private readonly what: string;

  constructor(
    private readonly connection: S3Connection,
    private readonly upload: S3Upload,
    private readonly id: string,
  ) {
    this.target = { Bucket: connection.bucket, Key: upload.key };
    this.what = `write s3://${connection.bucket}/${upload.key}`;
  }

  async put(bytes: Uint8Array): Promise<void> {
    const { connection, target, properties } = this;
    const put = (condition: { IfNoneMatch?: '*' }): Promise<unknown> =>
      connection.run(this.what, (client, sdk) =>
        client.send(
          new sdk.PutObjectCommand({
            ...target,
            ...properties,
            ...condition,
            ...connection.digest(bytes),
            Body: bytes,
            ContentLength: bytes.length,
          }),
        ),
      );
    await this.publish(() =>
      connection.conditions.write('PutObject', {
        guarded: () => put({ IfNoneMatch: '*' }),
        look: () => this.refuseOther(),
        plain: () => put({}),
      }),
    );
  }

  async putParts(firstBytes: Uint8Array, rest: AsyncGenerator<Part, void, undefined>): Promise<void> {
    const { connection, target, properties } = this;
    const created = await connection.run(this.what, (client, sdk) =>
      client.send(new sdk.CreateMultipartUploadCommand({ ...target, ...properties })),
    );
    const id = { ...target, UploadId: created.UploadId };
    try {
      const done: SentPart[] = [];
      const sendPart = async (bytes: Uint8Array): Promise<void> => {
        const PartNumber = done.length + 1;
        const sent = await connection.run(this.what, (client, sdk) =>
          client.send(
            new sdk.UploadPartCommand({
              ...id,
              ...connection.digest(bytes),
              PartNumber,
              Body: bytes,
              ContentLength: bytes.length,
            }),
          ),
        );
        done.push({ PartNumber, ETag: sent.ETag });
      };
      await sendPart(firstBytes);
      for await (const part of rest) await sendPart(part.bytes);
      await this.complete(id, done);
    } catch (error) {
      // What went wrong first matters more; a bucket's life-cycle rule clears parts that stay behind.
      await connection
        .run(this.what, (client, sdk) => client.send(new sdk.AbortMultipartUploadCommand(id)))
        .catch(() => undefined);
      throw error;
    }
  }

  private async complete(id: UploadTarget, parts: SentPart[]): Promise<void> {
    const { connection } = this;
    const complete = (condition: { IfNoneMatch?: '*' }): Promise<unknown> =>
      connection.run(this.what, (client, sdk) =>
        client.send(new sdk.CompleteMultipartUploadCommand({ ...id, ...condition, MultipartUpload: { Parts: parts } })),
      );
    await this.publish(async () => {
      // Servers that know the condition with PutObject may pass over it here, and nothing tells.
      await this.refuseOther();
      await connection.conditions.write('CompleteMultipartUpload', {
        guarded: () => complete({ IfNoneMatch: '*' }),
        look: () => this.refuseOther(),
        plain: () => complete({}),
      });
    });
  }

  /** Runs the request that makes the object appear. Its answer may be lost, and then tells nothing. */
  private async publish(action: () => Promise<unknown>): Promise<void> {
    try {
      await action();
    } catch (error) {
      if (isConflict(error)) return await this.refuseOther(true);
      const there = isUncertain(error) ? await this.find().catch(() => undefined) : undefined;
      if (there !== 'own') throw error;
    }
  }

  /** Throws `STORE_EXISTS`. */
  private async refuseOther(mustBeThere = false): Promise<void> {
    const there = await this.find();
    if (there === 'own' || (there === undefined && !mustBeThere)) return;
    throw new SluiceError('STORE_EXISTS', `cannot ${this.what}: there is another object of this name`);
  }

  private async find(): Promise<'own' | 'other' | undefined> {
    const { bucket } = this.connection;
    try {
      const head = await this.connection.run(`read s3://${bucket}/${this.upload.key}`, (client, sdk) =>
        client.send(new sdk.HeadObjectCommand(this.target)),
      );
      return head.Metadata?.[UPLOAD_METADATA] === this.id ? 'own' : 'other';
    } catch (error) {
      if (s3Status(error) === 404) return undefined;
      throw error;
    }
  }

  private get properties(): object {
    return {
      Metadata: { ...this.upload.metadata, [UPLOAD_METADATA]: this.id },
      ...this.connection.encryption,
    };
  }
}

interface UploadTarget {
  readonly Bucket: string;
  readonly Key: string;
  readonly UploadId: string | undefined;
}

interface SentPart {
  readonly PartNumber: number;
  readonly ETag: string | undefined;
}

function hash(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex').slice(0, 32);
}

function randomId(): string {
  return randomBytes(16).toString('hex');
}

/** The size of each part but the last: the same for all, since some servers insist on that. */
export function partBytes(sizeBytes: number | undefined): number {
  const wanted = Math.ceil((sizeBytes ?? 0) / PART_COUNT_TARGET);
  return Math.min(PART_BYTES_LIMIT, Math.max(PART_BYTES, wanted));
}

interface Part {
  /** Valid until the next part is asked for. */
  readonly bytes: Uint8Array;
  readonly last: boolean;
}

const EMPTY_PART: Part = { bytes: new Uint8Array(0), last: true };

/** Cuts a body in parts of `sizeBytes`; the last one may be shorter. One buffer serves all of them. */
async function* splitParts(body: StoreBody, sizeBytes: number): AsyncGenerator<Part, void, undefined> {
  if (body instanceof Uint8Array) {
    for (let offset = 0; offset < body.length; offset += sizeBytes) {
      yield { bytes: body.subarray(offset, offset + sizeBytes), last: offset + sizeBytes >= body.length };
    }
    return;
  }
  const pieces = 'path' in body ? createReadStream(body.path, { highWaterMark: STORE_CHUNK_BYTES }) : body;
  // Memory that is never touched costs nothing, so small bodies do not pay for a whole part.
  const buffer = Buffer.allocUnsafeSlow(sizeBytes);
  let filled = 0;
  for await (const piece of pieces as AsyncIterable<Uint8Array>) {
    let taken = 0;
    while (taken < piece.length) {
      if (filled === sizeBytes) {
        yield { bytes: buffer, last: false };
        filled = 0;
      }
      const length = Math.min(piece.length - taken, sizeBytes - filled);
      buffer.set(piece.subarray(taken, taken + length), filled);
      taken += length;
      filled += length;
    }
  }
  yield { bytes: buffer.subarray(0, filled), last: true };
}

async function bodySize(body: StoreBody, estimate: number | undefined): Promise<number | undefined> {
  if (body instanceof Uint8Array) return body.length;
  return 'path' in body ? (await stat(body.path)).size : estimate;
}
