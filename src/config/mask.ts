import { SECRET_KEYS } from './schema.js';
import type { Config } from './types.js';

/** A copy that may be printed: secrets are `***`. */
export function maskConfig(config: Config): Config {
  return JSON.parse(
    JSON.stringify(config, (key, value: unknown) => (SECRET_KEYS.has(key) && value !== null ? '***' : value)),
  ) as Config;
}
