import { writeSync } from 'node:fs';
import { scanHolders } from './holders.js';

/** A program: `print-holders.js MOUNT` writes a line `PID NAME` for each process that holds the mount, as it finds them. */
scanHolders(process.argv[2] ?? '', ({ pid, name }) => writeSync(1, `${pid} ${name}\n`));
