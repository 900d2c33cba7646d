export { DurabilityDesk, type DurabilityParts } from './desk.js';
export { awaitsAny, isAwaited, ruleFor } from './rules.js';
