import { type Config, LOCAL_DURABILITY } from '../config/index.js';
import { HALT_LIMITS, WRITE_LIMITS } from '../forwarding/limits.js';

/** Sections that a keeper of an older version does not know. */
type Newer = 'writes' | 'proxy' | 'durability';

/** As such a keeper hands it over. */
export type OlderConfig = Omit<Config, Newer> & Partial<Pick<Config, Newer>>;

/** What sections bring that the keeper does not know is off. */
export function completeConfig(config: OlderConfig): Config {
  return {
    ...config,
    writes: config.writes ?? { ...WRITE_LIMITS, ...HALT_LIMITS, forward: false },
    proxy: config.proxy ?? null,
    durability: config.durability ?? LOCAL_DURABILITY,
  };
}
