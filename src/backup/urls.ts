import { resolve } from 'node:path';
import { SluiceError } from '../errors.js';

/** A parsed store address. */
export type StoreUrl = FileUrl | S3Url;

export interface FileUrl {
  readonly scheme: 'file';
  /** Absolute. */
  readonly path: string;
}

export interface S3Url {
  readonly scheme: 's3';
  readonly bucket: string;
  /** Without slashes at either end; empty for the bucket itself. */
  readonly path: string;
  /** `?endpoint=`, with its scheme, e.g. `http://127.0.0.1:7070`. */
  readonly endpoint?: string;
  readonly region?: string;
  readonly pathStyle?: boolean;
}

const EXAMPLES = 'Use file:///absolute/folder, file://./folder or s3://bucket/path?endpoint=...&region=...';

/**
 * Reads a store's address. Throws `STORE_URL` with what would be right.
 *
 *   file:///srv/backup/app.db     an absolute path
 *   file://./backup/app.db        relative to the working directory (also `file://../`)
 *   s3://bucket/path?endpoint=http://127.0.0.1:7070&region=eu-west-1&path-style=true
 *
 * Percent-encoding is decoded. `force-path-style` and `forcePathStyle` are other spellings of `path-style`.
 */
export function parseStoreUrl(text: string): StoreUrl {
  if (text.startsWith('file:')) return parseFileUrl(text);
  if (text.startsWith('s3:')) return parseS3Url(text);
  throw invalid(text, 'is not a store address');
}

/** The address of one database under a root's. */
export function databaseUrl(root: string, name: string): string {
  if (name === '') return root;
  const [path = '', query] = splitQuery(root);
  const encoded = name.split('/').map(encodeURIComponent).join('/');
  return `${path.replace(/\/+$/, '')}/${encoded}${query === undefined ? '' : `?${query}`}`;
}

function parseFileUrl(text: string): FileUrl {
  const [address = '', query] = splitQuery(text);
  if (query !== undefined) throw invalid(text, 'has a query, which a file address cannot have');
  if (!address.startsWith('file://')) throw invalid(text, 'lacks the two slashes after file:');
  const path = decode(address.slice('file://'.length), text);
  if (path.includes('\0')) throw invalid(text, 'has a NUL character');
  if (path.startsWith('/')) return { scheme: 'file', path: resolve(path) };
  if (/^\.\.?(\/|$)/.test(path)) return { scheme: 'file', path: resolve(path) };
  throw invalid(text, path === '' ? 'names no folder' : 'names a host; a path starts with /, ./ or ../');
}

function parseS3Url(text: string): S3Url {
  const [address = '', query = ''] = splitQuery(text);
  const match = /^s3:\/\/([^/]*)(?:\/(.*))?$/.exec(address);
  if (match === null) throw invalid(text, 'lacks the two slashes after s3:');
  const bucket = match[1]!;
  if (bucket.includes('@'))
    throw invalid(text.replace(/\/\/.*@/, '//…@'), 'holds credentials, which belong in AWS_* variables');
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/.test(bucket)) throw invalid(text, 'has no valid bucket name');
  const path = decode(match[2] ?? '', text)
    .split('/')
    .filter((part) => part !== '')
    .join('/');
  return { scheme: 's3', bucket, path, ...parseS3Query(query, text) };
}

function parseS3Query(query: string, text: string): Pick<S3Url, 'endpoint' | 'region' | 'pathStyle'> {
  const found: { endpoint?: string; region?: string; pathStyle?: boolean } = {};
  for (const [key, value] of new URLSearchParams(query)) {
    if (key === 'endpoint') found.endpoint = parseEndpoint(value, text);
    else if (key === 'region') found.region = value;
    else if (['path-style', 'force-path-style', 'forcePathStyle'].includes(key))
      found.pathStyle = parseBoolean(value, key, text);
    else throw invalid(text, `has an unknown setting ${JSON.stringify(key)}`);
  }
  return found;
}

function parseEndpoint(value: string, text: string): string {
  const endpoint = /^https?:\/\//.test(value) ? value : `https://${value}`;
  if (!URL.canParse(endpoint)) throw invalid(text, `has an invalid endpoint ${JSON.stringify(value)}`);
  return endpoint;
}

function parseBoolean(value: string, key: string, text: string): boolean {
  if (value === 'true' || value === '1') return true;
  if (value === 'false' || value === '0') return false;
  throw invalid(text, `has ${key}=${value}, which must be true or false`);
}

/** The part before the first `?`, and the part after it if there is one. */
function splitQuery(text: string): [string, string | undefined] {
  const mark = text.indexOf('?');
  return mark < 0 ? [text, undefined] : [text.slice(0, mark), text.slice(mark + 1)];
}

function decode(path: string, text: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    throw invalid(text, 'has a broken percent-encoding');
  }
}

function invalid(text: string, why: string): SluiceError {
  return new SluiceError('STORE_URL', `${JSON.stringify(text)} ${why}`, EXAMPLES);
}
