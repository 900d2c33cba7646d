import { FileStoreRoot } from './file-store.js';
import type { S3Options } from './s3-client.js';
import { S3StoreRoot } from './s3-store.js';
import type { StoreRoot } from './store.js';
import { parseStoreUrl } from './urls.js';

/** Opens a store by its address; nothing is read or connected yet. Throws `STORE_URL`. */
export function openStore(url: string, s3: S3Options = {}, env: NodeJS.ProcessEnv = process.env): StoreRoot {
  const place = parseStoreUrl(url);
  return place.scheme === 'file' ? new FileStoreRoot(url, place.path) : new S3StoreRoot(url, place, s3, env);
}
