import type { Config } from './types.js';

/** Keys whose values are never shown. */
export const SECRET_KEYS: ReadonlySet<string> = new Set(['token', 'secretAccessKey', 'accessKeyId']);

/** A copy that may be printed: secrets are `***`. */
export function maskConfig(config: Config): Config {
  return JSON.parse(
    JSON.stringify(config, (key, value: unknown) => (SECRET_KEYS.has(key) && value !== null ? '***' : value)),
  ) as Config;
}
