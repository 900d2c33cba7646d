/** `list-client FOLDER`: prints its names, sorted, as JSON. */
import { readdirSync } from 'node:fs';

process.stdout.write(`${JSON.stringify(readdirSync(process.argv[2]!).sort())}\n`);
