import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { type S3Connection, s3Error } from './s3-client.js';
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

/** Writes an object, whole or not at all. Holds one part in memory at a time. */
export async function uploadObject(connection: S3Connection, upload: S3Upload, body: StoreBody): Promise<void> {
  let parts: AsyncGenerator<Part, void, undefined> | undefined;
  try {
    parts = splitParts(body, partBytes(await bodySize(body, upload.sizeEstimateBytes)));
    const first = await parts.next();
    const firstPart = first.done === true ? EMPTY_PART : first.value;
    if (firstPart.last) await putObject(connection, upload, firstPart.bytes);
    else await putParts(connection, upload, firstPart.bytes, parts);
  } catch (error) {
    throw s3Error(error, `cannot write s3://${connection.bucket}/${upload.key}`);
  } finally {
    // What was not read to its end may have a file open.
    await parts?.return();
  }
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

async function putObject(connection: S3Connection, upload: S3Upload, bytes: Uint8Array): Promise<void> {
  await connection.run(`write s3://${connection.bucket}/${upload.key}`, (client, sdk) =>
    client.send(
      new sdk.PutObjectCommand({
        Bucket: connection.bucket,
        Key: upload.key,
        Body: bytes,
        ContentLength: bytes.length,
        Metadata: upload.metadata,
      }),
    ),
  );
}

async function putParts(
  connection: S3Connection,
  upload: S3Upload,
  firstBytes: Uint8Array,
  rest: AsyncGenerator<Part, void, undefined>,
): Promise<void> {
  const target = { Bucket: connection.bucket, Key: upload.key };
  await connection.run(`write s3://${connection.bucket}/${upload.key}`, async (client, sdk) => {
    const created = await client.send(new sdk.CreateMultipartUploadCommand({ ...target, Metadata: upload.metadata }));
    const id = { ...target, UploadId: created.UploadId };
    try {
      const done: { PartNumber: number; ETag: string | undefined }[] = [];
      const sendPart = async (bytes: Uint8Array): Promise<void> => {
        const PartNumber = done.length + 1;
        const sent = await client.send(
          new sdk.UploadPartCommand({ ...id, PartNumber, Body: bytes, ContentLength: bytes.length }),
        );
        done.push({ PartNumber, ETag: sent.ETag });
      };
      await sendPart(firstBytes);
      for await (const part of rest) await sendPart(part.bytes);
      await client.send(new sdk.CompleteMultipartUploadCommand({ ...id, MultipartUpload: { Parts: done } }));
    } catch (error) {
      // What went wrong first matters more; a bucket's life-cycle rule clears parts that stay behind.
      await client.send(new sdk.AbortMultipartUploadCommand(id)).catch(() => undefined);
      throw error;
    }
  });
}

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
