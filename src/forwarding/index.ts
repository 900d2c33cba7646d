export type { HaltParts } from './database-turns.js';
export { HaltDesk } from './halt-desk.js';
export { type HalterProcess, Halters } from './halters.js';
export { HALT_LIMITS, type HaltLimits, WRITE_LIMITS, type WriteLimits } from './limits.js';
export { WriteDesk } from './write-desk.js';
