import type { DurabilityConfig } from './types.js';

/** Where nothing else is said: no commit waits for other machines. */
export const LOCAL_DURABILITY: DurabilityConfig = Object.freeze({
  until: 'local',
  replicas: 0,
  timeoutMs: 5000,
  onTimeout: 'degrade',
  databases: [],
});
