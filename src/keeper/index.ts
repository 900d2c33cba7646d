export { type KeeperOptions, runKeeper } from './keeper.js';
