export { Keeper, type KeeperOptions } from './keeper.js';
