export { lockDataFolder } from './data-lock.js';
export { type KeeperOptions, runKeeper } from './keeper.js';
export { isKeeperAlive, type KeeperState, readKeeperState, type UpgradeState } from './keeper-file.js';
