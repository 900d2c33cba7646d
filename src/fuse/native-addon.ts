import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** The npm package fuse-native as it was built: its addon, which needs the libfuse beside it. Any process may look. */

const require = createRequire(import.meta.url);
/** Stands in each record of a request whose caller is noted, and so in the code that notes it. See scripts/fuse-caller.h. */
export const CALLER_MAGIC = 0x51c1cec0ffee0001n;

/** The folder with the addon; undefined if there is none for this machine. */
export function addonFolder(): string | undefined {
  let home: string;
  try {
    home = dirname(require.resolve('fuse-native/package.json'));
  } catch {
    return undefined;
  }
  const folder = join(home, 'build', 'Release');
  if (existsSync(join(folder, 'fuse.node'))) return folder;
  const prebuilt = join(home, 'prebuilds', `${process.platform}-${process.arch}`);
  return existsSync(join(prebuilt, 'node.napi.node')) ? prebuilt : undefined;
}

/** Whether it was compiled with scripts/fuse-caller.h, and so tells who makes a request. */
export function speaksOfCallers(): boolean {
  const folder = addonFolder();
  const path = folder === undefined ? '' : join(folder, 'fuse.node');
  const magic = Buffer.alloc(8);
  magic.writeBigUInt64LE(CALLER_MAGIC);
  return existsSync(path) && readFileSync(path).includes(magic);
}
