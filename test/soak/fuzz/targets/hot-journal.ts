import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { endHotJournal } from '../../../../src/database/hot-journal.js';
import { errorCode } from '../../../../src/errors.js';
import { JOURNAL_MAGIC } from '../../../../src/sqlite/index.js';
import { mustHold, type Target, type TargetOpener } from '../target.js';
import { journalNote } from './sqlite-files.js';

/** Files beside the database that no journal may take away, whatever it names. */
const OTHERS = ['other.db', 'empty.db', 'zeros.db', 'notes.txt'];

/** A journal that a killed application left, which recovery ends before anyone opens the mount. */
export const hotJournal: TargetOpener = {
  open(folder): Target {
    const files = join(folder, 'files');
    const database = makeDatabase(folder);
    const journal = Buffer.concat([Buffer.from(JOURNAL_MAGIC), Buffer.alloc(504), Buffer.alloc(520)]);
    journal.writeUInt32BE(512, 20);
    journal.writeUInt32BE(512, 24);
    const seeds = ['/mount/app.db-mj01234567', '/mount/empty.db', '/elsewhere/x-mj01234567', '/mount/zeros.db'].map(
      (name) => Buffer.concat([journal, journalNote(name)]),
    );
    return {
      seeds: [journal, ...seeds],
      dictionary: [...OTHERS, 'app.db', '/mount/', '..', '/', 'app.db-journal'].map((name) => Buffer.from(name)),
      maxBytes: 4000,
      make: (random) =>
        Buffer.concat([
          journal,
          journalNote(
            random.pick(['/mount/', '/x/', '']) +
              random.pick([...OTHERS, 'app.db', 'app.db-journal', 'app.db-mj01234567', '..', '/']),
          ),
        ]),
      async run(input) {
        rmSync(files, { recursive: true, force: true });
        mkdirSync(join(files, 'sub'), { recursive: true });
        for (const name of OTHERS)
          writeFileSync(
            join(files, name),
            name === 'zeros.db' ? Buffer.alloc(4096) : name === 'empty.db' ? '' : `content of ${name}`,
          );
        writeFileSync(join(files, 'app.db-mj01234567'), '/mount/app.db-journal\0');
        writeFileSync(join(files, 'sub', 'app.db'), database);
        writeFileSync(join(files, 'sub', 'app.db-journal'), input);
        try {
          await endHotJournal(join(files, 'sub', 'app.db'), { files, mountPath: '/mount' });
        } catch (error) {
          if (!/^(SQLITE_|E[A-Z]+$)/.test(errorCode(error) ?? '')) throw error;
        }
        const left = readdirSync(files);
        for (const name of OTHERS) {
          mustHold(left.includes(name), `a journal took ${name} away`);
          mustHold(
            readFileSync(join(files, name)).length ===
              (name === 'zeros.db' ? 4096 : name === 'empty.db' ? 0 : 11 + name.length),
            `a journal changed ${name}`,
          );
        }
      },
    };
  },
};

function makeDatabase(folder: string): Buffer {
  const path = join(folder, 'sample.db');
  const db = new Sqlite(path);
  db.pragma('page_size = 512');
  db.exec('CREATE TABLE t (a); INSERT INTO t VALUES (1)');
  db.close();
  return readFileSync(path);
}
