import type { Command } from 'commander';
import type { S3Options, StoreRoot } from '../src/backup/index.js';
import { SluiceError } from '../src/errors.js';

const MAX_NAMES_SHOWN = 10;

/** How a store is reached, where no sluice.yml says so. */
export interface StoreOptions {
  readonly key?: string;
  readonly endpoint?: string;
  readonly region?: string;
  readonly pathStyle?: boolean;
  readonly profile?: string;
}

export function addStoreOptions(command: Command): Command {
  return command
    .option('--key <file>', 'the key file of an encrypted backup')
    .option('--endpoint <url>', 'S3: the service, if it is not AWS')
    .option('--region <region>', 'S3: the region')
    .option('--path-style', 'S3: the bucket stands in the path, not in the host name')
    .option('--profile <name>', 'S3: the AWS profile');
}

/** Opens the store at an address. Throws `STORE_URL`, `STORE_KEY`. */
export async function openSource(source: string, options: StoreOptions): Promise<StoreRoot> {
  const { openStore } = await import('../src/backup/index.js');
  return openStore(source, s3Options(options), process.env, options.key);
}

export function s3Options({ endpoint, region, pathStyle, profile }: StoreOptions): S3Options {
  return {
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(region === undefined ? {} : { region }),
    ...(pathStyle === undefined ? {} : { pathStyle }),
    ...(profile === undefined ? {} : { profile }),
  };
}

/** Where there is no backup at the address, those below it are probably what was meant. */
export async function withNames(error: unknown, root: StoreRoot): Promise<unknown> {
  if (!(error instanceof SluiceError) || error.code !== 'RESTORE_EMPTY') return error;
  const names = await root.databaseNames(MAX_NAMES_SHOWN).catch(() => []);
  const hint =
    names.length === 0
      ? "An address is the backup's url in sluice.yml, then the database's name"
      : `There are backups of ${names.join(', ')} below it: add one of the names to the address`;
  return new SluiceError(error.code, error.message, hint, { cause: error });
}
