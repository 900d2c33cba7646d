/**
 * `orphan-client PATH`: writes a file, removes it while it stays open, prints `ready`, and reads it again when its
 * input ends.
 */
import { closeSync, openSync, readSync, unlinkSync, writeSync } from 'node:fs';

const path = process.argv[2]!;
const fd = openSync(path, 'w+');
writeSync(fd, 'kept');
unlinkSync(path);
process.stdout.write('ready\n');
process.stdin.on('end', () => {
  const bytes = Buffer.alloc(10);
  process.stdout.write(`${bytes.toString('utf8', 0, readSync(fd, bytes, 0, 10, 0))}\n`);
  closeSync(fd);
});
process.stdin.resume();
