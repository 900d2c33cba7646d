export { createApplier } from './applier.js';
export type { Applier, ApplierOptions, Halter, Looked, LtxLocation } from './types.js';
