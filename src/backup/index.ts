export { Backup, type BackupHooks, type BackupLimits, type BackupLog, type BackupOptions } from './backup.js';
export type { UploadEvent } from './database-backup.js';
export { type FileKey, formatFileName, LEVEL_INCREMENT, LEVEL_SNAPSHOT, parseFileName } from './file-names.js';
export { openStore } from './open-store.js';
export { findRestorePlan, type RestoreOptions, type RestoreProgress, type RestoreResult, restore } from './restore.js';
export { planRestore, type RestorePlan } from './restore-plan.js';
export type { S3Limits, S3Options } from './s3-client.js';
export type { ByteRange, ListRange, NewStoreFile, Store, StoreBody, StoreFile, StoreRoot } from './store.js';
export { databaseUrl, parseStoreUrl, type StoreUrl } from './urls.js';
