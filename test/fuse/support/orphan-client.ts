/**
 * `orphan-client PATH`: writes a file, removes it while it stays open, prints `ready`; when its input ends it writes more,
 * syncs, cuts the file, and prints all of it.
 */
import { closeSync, fsyncSync, ftruncateSync, openSync, readSync, unlinkSync, writeSync } from 'node:fs';

const path = process.argv[2]!;
const fd = openSync(path, 'w+');
writeSync(fd, 'kept');
unlinkSync(path);
process.stdout.write('ready\n');
process.stdin.on('end', () => {
  const bytes = Buffer.alloc(20);
  writeSync(fd, ' and written', 4);
  fsyncSync(fd);
  ftruncateSync(fd, 10);
  process.stdout.write(`${bytes.toString('utf8', 0, readSync(fd, bytes, 0, 20, 0))}\n`);
  closeSync(fd);
});
process.stdin.resume();
