import type { IncomingHttpHeaders } from 'node:http';

/** One request that a proxy in front of an S3 server saw. */
export interface RequestRecord {
  readonly method: string;
  /** With its query; the bucket's name is the first part of the path. */
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  /** Of the answer; undefined while there is none, or where none came. */
  status: number | undefined;
}

/**
 * - `get`: an object or a part of it, `notModified` (304) not among them
 * - `put`: an object or a part of one
 * - `multipart`: what begins, completes and gives up objects in parts
 * - `delete`: of one object or of a batch
 */
export type RequestKind = 'get' | 'notModified' | 'head' | 'put' | 'copy' | 'multipart' | 'list' | 'delete' | 'other';

export type RequestCount = Record<RequestKind | 'total', number>;

/** How many requests of each kind there were, as a bill has them. */
export function countRequests(records: readonly RequestRecord[]): RequestCount {
  const none = { get: 0, notModified: 0, head: 0, put: 0, copy: 0, multipart: 0, list: 0, delete: 0, other: 0 };
  const count: RequestCount = { ...none, total: records.length };
  for (const record of records) count[requestKind(record)]++;
  return count;
}

export function requestKind({ method, url, headers, status }: RequestRecord): RequestKind {
  const { pathname, searchParams } = new URL(url, 'http://any');
  const ofBucket = pathname.split('/').filter((part) => part !== '').length < 2;
  if (method === 'HEAD') return 'head';
  if (method === 'GET') {
    if (searchParams.has('list-type') || ofBucket) return 'list';
    return status === 304 ? 'notModified' : 'get';
  }
  if (searchParams.has('uploads') || (searchParams.has('uploadId') && method !== 'PUT')) return 'multipart';
  if (method === 'PUT') return 'x-amz-copy-source' in headers ? 'copy' : 'put';
  return method === 'DELETE' || (method === 'POST' && searchParams.has('delete')) ? 'delete' : 'other';
}
