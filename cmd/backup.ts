import { resolve } from 'node:path';
import type { Command } from 'commander';
import { registerList } from './backup-list.js';
import { registerNow } from './backup-now.js';
import { registerPrune } from './backup-prune.js';
import { registerBackupStatus } from './backup-status.js';

const KEY_EXAMPLES = `
Examples:
  sluice backup key /etc/sluice/backup.key
  sluice backup key --id /etc/sluice/backup.key    which key it is, as errors name it

The file is made with mode 0600 and is never replaced. Name it in sluice.yml (backup: encryption: key:) and keep a copy
where the backup is not: without it nobody can read the backup, and Sluice cannot either.`;

/** What `backup` is the name of: each sub-command of it has a file. */
export function registerBackup(program: Command): void {
  const backup = program.command('backup').description('look after backups, and make keys for them');
  registerList(backup);
  registerBackupStatus(backup);
  registerNow(backup);
  registerPrune(backup);
  registerKey(backup);
}

function registerKey(backup: Command): void {
  backup
    .command('key')
    .description('make a key file that backups are encrypted with')
    .argument('<file>', 'the key file')
    .option('--id', 'do not make one: show the id of the key in this file')
    .option('--json', 'as JSON')
    .addHelpText('after', KEY_EXAMPLES)
    .action(runKey);
}

async function runKey(file: string, options: { readonly id?: boolean; readonly json?: boolean }): Promise<void> {
  const { createKeyFile, readKeyFile } = await import('../src/backup/index.js');
  const { id } = options.id === true ? readKeyFile(file) : createKeyFile(file);
  if (options.json === true) console.log(JSON.stringify({ file, id }));
  else if (options.id === true) console.log(`${file}: key ${id}`);
  else console.log(whatToDo(resolve(file), id));
}

function whatToDo(file: string, id: string): string {
  return `${file}: a new key, ${id}

1. Copy it to a place that is neither this machine nor the backup: without it nobody can read the backup.
2. Name it in sluice.yml, with a url where there is no backup yet, and start the node again:

     backup:
       url: …
       encryption:
         key: ${file}

3. Read the backup with it: sluice restore --key ${file} …`;
}
