export { createApplier } from './applier.js';
export type { Applier, ApplierOptions, LtxLocation } from './types.js';
