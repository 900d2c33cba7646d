import { EncryptedStore } from './encrypted-store.js';
import { FileStoreRoot } from './file-store.js';
import { readKeyFile } from './key-file.js';
import { PlainStore } from './plain-store.js';
import type { S3Options } from './s3-client.js';
import { S3StoreRoot } from './s3-store.js';
import type { StoreRoot } from './store.js';
import { parseStoreUrl } from './urls.js';
import { WrappedRoot } from './wrapped-store.js';

/**
 * Opens a store by its address; nothing is read or connected yet but the key file, for what is encrypted. Throws
 * `STORE_URL`, `STORE_KEY`.
 */
export function openStore(
  url: string,
  s3: S3Options = {},
  env: NodeJS.ProcessEnv = process.env,
  keyFile?: string,
): StoreRoot {
  const place = parseStoreUrl(url);
  const root = place.scheme === 'file' ? new FileStoreRoot(url, place.path) : new S3StoreRoot(url, place, s3, env);
  if (keyFile === undefined) return new WrappedRoot(root, (store) => new PlainStore(store));
  const key = readKeyFile(keyFile);
  return new WrappedRoot(root, (store) => new EncryptedStore(store, key));
}

/** What sluice.yml says of a store. */
export interface StoreSettings {
  readonly url: string;
  readonly endpoint?: string;
  readonly region?: string;
  readonly pathStyle?: boolean;
  readonly accessKeyId?: string;
  readonly secretAccessKey?: string;
  readonly profile?: string;
  readonly keyFile?: string | null;
  readonly sse?: 'AES256' | 'aws:kms';
  readonly sseKeyId?: string;
  readonly caFile?: string;
}

/** Opens a store as sluice.yml describes it. */
export function openConfiguredStore(config: StoreSettings): StoreRoot {
  const { accessKeyId, secretAccessKey, profile, endpoint, region, pathStyle, sse, sseKeyId, caFile } = config;
  const s3: S3Options = {
    ...(profile !== undefined && { profile }),
    ...(endpoint !== undefined && { endpoint }),
    ...(region !== undefined && { region }),
    ...(pathStyle !== undefined && { pathStyle }),
    ...(sse !== undefined && { sse }),
    ...(sseKeyId !== undefined && { sseKeyId }),
    ...(caFile !== undefined && { caFile }),
    ...(accessKeyId !== undefined &&
      secretAccessKey !== undefined && { credentials: { accessKeyId, secretAccessKey } }),
  };
  return openStore(config.url, s3, process.env, config.keyFile ?? undefined);
}
