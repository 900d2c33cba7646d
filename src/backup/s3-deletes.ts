import type { S3Connection } from './s3-client.js';
import { isThrottling, s3Status } from './s3-errors.js';

/** S3's own limit of one request. */
const BATCH_KEYS = 1000;
/** Single requests under way at a time. */
const AT_ONCE = 16;

/** Deletes objects, no error for those that are not there: many with a request, one by one where a server refuses that. */
export async function deleteObjects(connection: S3Connection, keys: readonly string[]): Promise<void> {
  for (let at = 0; at < keys.length; at += BATCH_KEYS) {
    const batch = keys.slice(at, at + BATCH_KEYS);
    const left = connection.deletesInBatches && batch.length > 1 ? await deleteBatch(connection, batch) : batch;
    for (let i = 0; i < left.length; i += AT_ONCE) {
      await Promise.all(left.slice(i, i + AT_ONCE).map((key) => deleteObject(connection, key)));
    }
  }
}

/** Returns those that it could not delete: asked for one by one, each tells why. */
async function deleteBatch(connection: S3Connection, keys: readonly string[]): Promise<readonly string[]> {
  try {
    const answer = await connection.run(`delete ${keys.length} objects in s3://${connection.bucket}`, (client, sdk) =>
      client.send(
        new sdk.DeleteObjectsCommand({
          Bucket: connection.bucket,
          Delete: { Quiet: true, Objects: keys.map((Key) => ({ Key })) },
        }),
      ),
    );
    return (answer.Errors ?? []).flatMap(({ Key, Code }) => (Key === undefined || Code === 'NoSuchKey' ? [] : [Key]));
  } catch (error) {
    if (!isRefusal(error)) throw error;
    connection.deletesInBatches = false;
    return keys;
  }
}

async function deleteObject(connection: S3Connection, Key: string): Promise<void> {
  await connection.run(`delete s3://${connection.bucket}/${Key}`, (client, sdk) =>
    client.send(new sdk.DeleteObjectCommand({ Bucket: connection.bucket, Key })),
  );
}

/** The server does not know the request, or not as it is sent: some want a header of older SDKs. */
function isRefusal(error: unknown): boolean {
  const status = s3Status(error) ?? 0;
  return status === 501 || ([400, 405, 411].includes(status) && !isThrottling(error));
}
