import type { Store, StoreRoot } from '../src/backup/index.js';
import type { BackupConfig } from '../src/config/index.js';
import { SluiceError } from '../src/errors.js';

/** Names that are looked for in one store. */
const NAME_LIMIT = 10_000;

/** A database in a store of sluice.yml. */
export interface StoredDatabase {
  readonly config: BackupConfig;
  readonly name: string;
  readonly store: Store;
}

/** All databases in all stores of a config file, one after the other. Throws `CONFIG*`, `BACKUP_NONE`, Store's errors. */
export async function* configuredStores(file: string | undefined): AsyncGenerator<StoredDatabase, void, undefined> {
  const [{ loadConfig }, { openConfiguredStore }] = await Promise.all([
    import('../src/config/load.js'),
    import('../src/backup/index.js'),
  ]);
  const { backup } = loadConfig({ file });
  if (backup.length === 0) throw new SluiceError('BACKUP_NONE', 'the config names no store', 'Add one under backup');
  for (const config of backup) {
    const root: StoreRoot = openConfiguredStore(config);
    try {
      // All of them, however many requests that takes.
      for (const name of await root.databaseNames(NAME_LIMIT, new Set()))
        yield { config, name, store: root.database(name) };
    } finally {
      root.close();
    }
  }
}
