/** `operations-client FOLDER`: does many things to files in a folder and prints what each gave, the same on any file system. */
import * as fs from 'node:fs';

const folder = process.argv[2]!;
const at = (name: string): string => `${folder}/${name}`;
const lines: string[] = [];

function step(name: string, action: () => unknown): void {
  let result: unknown;
  try {
    result = action();
  } catch (error) {
    result = (error as NodeJS.ErrnoException).code ?? String(error);
  }
  lines.push(`${name}: ${JSON.stringify(result) ?? 'done'}`);
}

function shape(path: string): unknown {
  const s = fs.lstatSync(path);
  return [s.mode.toString(8), s.isDirectory() ? 0 : s.size, s.isDirectory() ? 0 : s.nlink, s.uid, s.gid];
}

step('write', () => fs.writeFileSync(at('a'), 'hello'));
step('stat', () => shape(at('a')));
step('mode and umask', () => {
  const before = process.umask(0o027);
  fs.writeFileSync(at('masked'), '', { mode: 0o666 });
  process.umask(before);
  return shape(at('masked'));
});
step('exclusive create of what exists', () => fs.writeFileSync(at('a'), '', { flag: 'wx' }));
step('append', () => fs.appendFileSync(at('a'), ' world'));
step('read', () => fs.readFileSync(at('a'), 'utf8'));
step('truncate', () => {
  fs.truncateSync(at('a'), 3);
  return fs.readFileSync(at('a'), 'utf8');
});
step('extend by truncate', () => {
  fs.truncateSync(at('a'), 10);
  return fs.readFileSync(at('a')).toString('hex');
});
step('open with truncation', () => {
  fs.closeSync(fs.openSync(at('a'), 'w'));
  return shape(at('a'));
});
step('hole', () => {
  const fd = fs.openSync(at('hole'), 'w+');
  fs.writeSync(fd, Buffer.from('end'), 0, 3, 100_000);
  const zeros = Buffer.alloc(5);
  fs.readSync(fd, zeros, 0, 5, 50_000);
  const size = fs.fstatSync(fd).size;
  fs.closeSync(fd);
  return [size, zeros.toString('hex')];
});
step('large write and read', () => {
  const data = Buffer.alloc(5_000_000, 'abcdefg');
  fs.writeFileSync(at('large'), data);
  return fs.readFileSync(at('large')).equals(data);
});
step('copy', () => {
  fs.copyFileSync(at('large'), at('copy'));
  return fs.readFileSync(at('copy')).equals(fs.readFileSync(at('large')));
});
step('missing', () => fs.readFileSync(at('missing')));
step('missing again', () => fs.readFileSync(at('missing')));
step('created after it was missing', () => {
  fs.writeFileSync(at('missing'), 'now');
  return fs.readFileSync(at('missing'), 'utf8');
});
step('chmod', () => {
  fs.chmodSync(at('a'), 0o640);
  return shape(at('a'));
});
step('chown', () => {
  fs.chownSync(at('a'), 1234, 4321);
  return shape(at('a'));
});
step('times', () => {
  fs.utimesSync(at('a'), 1_000_000.5, 1_600_000_000.25);
  const s = fs.statSync(at('a'));
  return [s.atimeMs, s.mtimeMs];
});
step('mkdir', () => fs.mkdirSync(at('d/e/f'), { recursive: true }) === at('d'));
step('mkdir twice', () => fs.mkdirSync(at('d')));
step('folder shape', () => shape(at('d')));
step('set-group-id folder hands down its group', () => {
  fs.mkdirSync(at('sg'));
  fs.chownSync(at('sg'), 0, 777);
  fs.chmodSync(at('sg'), 0o2775);
  fs.writeFileSync(at('sg/x'), '');
  fs.mkdirSync(at('sg/y'));
  return [shape(at('sg/x')), shape(at('sg/y'))];
});
step('write below', () => fs.writeFileSync(at('d/e/f/x'), 'deep'));
step('rmdir of a full folder', () => fs.rmdirSync(at('d')));
step('unlink of a folder', () => fs.unlinkSync(at('d')));
step('rmdir of a file', () => fs.rmdirSync(at('a')));
step('rename folder', () => {
  fs.renameSync(at('d'), at('moved'));
  return [fs.readFileSync(at('moved/e/f/x'), 'utf8'), fs.existsSync(at('d'))];
});
step('rename folder into itself', () => fs.renameSync(at('moved'), at('moved/e/g')));
step('rename file over folder', () => fs.renameSync(at('a'), at('moved')));
step('rename folder over file', () => fs.renameSync(at('moved'), at('a')));
step('rename folder over full folder', () => {
  fs.mkdirSync(at('full'));
  fs.writeFileSync(at('full/x'), '');
  fs.renameSync(at('moved'), at('full'));
});
step('rename folder over empty folder', () => {
  fs.mkdirSync(at('empty'));
  fs.renameSync(at('moved'), at('empty'));
  return fs.readFileSync(at('empty/e/f/x'), 'utf8');
});
step('rename over an open file', () => {
  fs.writeFileSync(at('old'), 'old content');
  fs.writeFileSync(at('new'), 'new content');
  const fd = fs.openSync(at('old'), 'r+');
  fs.renameSync(at('new'), at('old'));
  const kept = Buffer.alloc(11);
  fs.readSync(fd, kept, 0, 11, 0);
  fs.writeSync(fd, Buffer.from('OLD'), 0, 3, 0);
  const { nlink } = fs.fstatSync(fd);
  fs.closeSync(fd);
  return [kept.toString(), nlink, fs.readFileSync(at('old'), 'utf8'), fs.existsSync(at('new'))];
});
step('unlink while open, then a new file there', () => {
  fs.writeFileSync(at('u'), 'first');
  const fd = fs.openSync(at('u'), 'r+');
  fs.unlinkSync(at('u'));
  fs.writeFileSync(at('u'), 'second');
  fs.writeSync(fd, Buffer.from('FIRST and more'), 0, 14, 0);
  fs.ftruncateSync(fd, 7);
  const kept = Buffer.alloc(20);
  const bytes = fs.readSync(fd, kept, 0, 20, 0);
  fs.fchmodSync(fd, 0o600);
  fs.fsyncSync(fd);
  fs.closeSync(fd);
  return [kept.toString('utf8', 0, bytes), fs.readFileSync(at('u'), 'utf8')];
});
step('rename of an open file', () => {
  const fd = fs.openSync(at('r1'), 'w+');
  fs.writeSync(fd, 'one');
  fs.renameSync(at('r1'), at('r2'));
  fs.writeSync(fd, 'two');
  fs.closeSync(fd);
  return [fs.readFileSync(at('r2'), 'utf8'), fs.existsSync(at('r1'))];
});
step('rename to itself', () => fs.renameSync(at('r2'), at('r2')));
step('name of 255 bytes', () => {
  fs.writeFileSync(at('n'.repeat(255)), 'x');
  return fs.existsSync(at('n'.repeat(255)));
});
step('name of 300 bytes', () => fs.writeFileSync(at('n'.repeat(300)), 'x'));
step('name in utf-8', () => {
  fs.writeFileSync(at('Grüße \t\n\\ 你好 🚰'), 'x');
  return fs.readdirSync(folder).includes('Grüße \t\n\\ 你好 🚰');
});
step('a thousand files, removed while listed', () => {
  fs.mkdirSync(at('many'));
  for (let i = 0; i < 1000; i++) fs.writeFileSync(at(`many/file-${i}`), String(i));
  const listed = fs.readdirSync(at('many')).sort();
  const reader = fs.opendirSync(at('many'), { bufferSize: 8 });
  let seen = 0;
  for (let entry = reader.readSync(); entry !== null; entry = reader.readSync()) {
    fs.unlinkSync(at(`many/${entry.name}`));
    seen++;
  }
  reader.closeSync();
  fs.rmdirSync(at('many'));
  return [listed.length, listed[0], listed[999], seen];
});
step('fsync of file and folder', () => {
  for (const name of ['a', 'full']) {
    const fd = fs.openSync(at(name), 'r');
    fs.fsyncSync(fd);
    fs.fdatasyncSync(fd);
    fs.closeSync(fd);
  }
});
step('write through a read-only handle', () => {
  const fd = fs.openSync(at('a'), 'r');
  try {
    fs.writeSync(fd, 'x');
  } finally {
    fs.closeSync(fd);
  }
});
step('listing', () => fs.readdirSync(folder).sort());
step('types in listing', () =>
  fs
    .readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort(),
);
step('recursive removal', () => {
  for (const name of fs.readdirSync(folder)) fs.rmSync(at(name), { recursive: true });
  return fs.readdirSync(folder);
});
process.stdout.write(`${lines.join('\n')}\n`);
