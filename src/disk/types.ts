import type * as fs from 'node:fs';
import type * as promises from 'node:fs/promises';

/** What a node does to its data folder, by the names and shapes of node:fs. */
export type Disk = Pick<
  typeof fs,
  | 'openSync'
  | 'readSync'
  | 'writeSync'
  | 'ftruncateSync'
  | 'fsyncSync'
  | 'fdatasyncSync'
  | 'fsync'
  | 'fdatasync'
  | 'closeSync'
  | 'readFileSync'
  | 'writeFileSync'
  | 'copyFileSync'
  | 'renameSync'
  | 'linkSync'
  | 'symlinkSync'
  | 'unlinkSync'
  | 'mkdirSync'
  | 'rmdirSync'
  | 'rmSync'
  | 'readdirSync'
  | 'chmodSync'
  | 'fchmodSync'
  | 'fchownSync'
  | 'lchownSync'
  | 'futimesSync'
  | 'lutimesSync'
> & { readonly later: Later };

/** The same of node:fs/promises. */
export interface Later {
  readonly open: (path: string, flags: string) => Promise<LaterFile>;
  readonly copyFile: (from: string, to: string, mode?: number) => Promise<void>;
  readonly mkdir: (path: string, options: { readonly recursive: true }) => Promise<string | undefined>;
  readonly rename: (from: string, to: string) => Promise<void>;
  readonly rm: (path: string, options: { readonly force: true; readonly recursive?: boolean }) => Promise<void>;
  readonly writeFile: (path: string, content: string) => Promise<void>;
}

/** What is used of a file that was opened with `later.open`. */
export interface LaterFile {
  read(into: Uint8Array, at: number, length: number): Promise<{ readonly bytesRead: number }>;
  /** From where the last one ended. */
  writeFile(bytes: Uint8Array): Promise<void>;
  sync: promises.FileHandle['sync'];
  close: promises.FileHandle['close'];
}

/** A folder's or file's own identity: what survives renames. */
export type FileId = number;
