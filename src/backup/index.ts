export { Backup, type BackupHooks, type BackupLimits, type BackupLog, type BackupOptions } from './backup.js';
export { CompactionThread } from './compaction-thread.js';
export type { UploadEvent } from './database-backup.js';
export { type CheckMode, checkDatabase } from './database-check.js';
export {
  describeFile,
  type FileKey,
  formatFileName,
  LEVEL_INCREMENT,
  LEVEL_SNAPSHOT,
  parseFileName,
} from './file-names.js';
export { type Inventory, type LevelInventory, takeInventory } from './inventory.js';
export { type BackupKey, createKeyFile, readKeyFile } from './key-file.js';
export { LoggedStore } from './logged-store.js';
export { decodeManifest, encodeManifest, type Manifest, type ManifestFile } from './manifest.js';
export {
  findNewest,
  findNewestByListing,
  type Newest,
  type UnfitFile,
} from './newest.js';
export { openConfiguredStore, openStore, type StoreSettings } from './open-store.js';
export { type Pruning, prune } from './prune.js';
export { countRequests } from './read-ahead.js';
export { type RestoreOptions, type RestoreProgress, type RestoreResult, restore } from './restore.js';
export { leadOn, planRestore, type RestorePlan } from './restore-plan.js';
export { formatTime, type StateAtTime, type TimedState } from './restore-time.js';
export { findWay, type RestoreTarget, type RestoreWay } from './restore-way.js';
export type { S3Limits, S3Options } from './s3-client.js';
export {
  ScheduledVerify,
  type ScheduledVerifyOptions,
  type VerifiedStore,
  type VerifyEvent,
} from './scheduled-verify.js';
export { Slots } from './slots.js';
export type {
  ByteRange,
  ListRange,
  NewStoreFile,
  Store,
  StoreBody,
  StoredManifest,
  StoreFile,
  StoreRoot,
} from './store.js';
export { databaseUrl, parseStoreUrl, type StoreUrl } from './urls.js';
export { type VerifyOptions, type VerifyProgress, verifyBackup } from './verify.js';
export type { VerifyProblem, VerifyResult } from './verify-result.js';
