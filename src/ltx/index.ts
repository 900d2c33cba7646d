export * from './position.js';
export * from './source.js';
