// Builds SQLite's own test programs from upstream's tree, which Debian's source package has:
//
//   node scripts/sqlite-tools.mjs              testfixture alone, which runs the TCL tests; fails if it cannot be built
//   node scripts/sqlite-tools.mjs --all        mptester, threadtest3, speedtest1 and kvtest as well
//   node scripts/sqlite-tools.mjs --optional   says so and goes on
//
// They land in ${SLUICE_TOOLS:-~/.cache/sluice-tools}/sqlite-conformance/VERSION, in `source` and `build`; a second run
// does nothing. Plain Node without dependencies, because it runs before anything is built.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { cpus, homedir } from 'node:os';
import { join } from 'node:path';
import { needDebianPackages, unpackDebianSource } from './debian-source.mjs';

const SOURCE = {
  name: 'sqlite3',
  version: '3.40.1',
  sha256: 'aaa776260ab4dc976db34aa7891819484c8676b5b2783123ebc6301e2ca5d655',
};
/** The tests' program is built fast rather than to be fast; the others are measured. */
const PROGRAMS = [
  { name: 'testfixture', cflags: '-O1' },
  ...['mptester', 'threadtest3', 'speedtest1', 'kvtest'].map((name) => ({ name, cflags: '-O2' })),
];
const NEEDED = [
  { package: 'build-essential', file: '/usr/bin/make' },
  { package: 'build-essential', file: '/usr/bin/gcc' },
  { package: 'tcl', file: '/usr/bin/tclsh' },
  { package: 'tcl-dev', file: '/usr/include/tcl8.6/tcl.h' },
  { package: 'zlib1g-dev', file: '/usr/include/zlib.h' },
  { package: 'xz-utils', file: '/usr/bin/xz' },
];
const TCL = '/usr/lib/tcl8.6';
const BUILD_LIMIT_MS = 30 * 60_000;

const optional = process.argv.includes('--optional');
const programs = process.argv.includes('--all') ? PROGRAMS : PROGRAMS.slice(0, 1);
const tools = process.env.SLUICE_TOOLS || join(homedir(), '.cache', 'sluice-tools');
const folder = join(tools, 'sqlite-conformance', SOURCE.version);
const source = join(folder, 'source');
const build = join(folder, 'build');

function prepare() {
  const missing = programs.filter(({ name }) => !existsSync(join(build, name)));
  if (missing.length === 0) return 'present';
  needDebianPackages(NEEDED);
  if (!existsSync(source)) {
    const fresh = `${source}-${process.pid}`;
    try {
      unpackDebianSource(SOURCE, fresh);
      renameSync(fresh, source);
    } finally {
      rmSync(fresh, { recursive: true, force: true });
    }
  }
  mkdirSync(build, { recursive: true });
  if (!existsSync(join(build, 'Makefile'))) run(join(source, 'configure'), [`--with-tcl=${TCL}`, '--disable-shared']);
  for (const { name, cflags } of missing) run('make', [`-j${cpus().length}`, `CFLAGS=${cflags}`, name]);
  return 'built';
}

function run(program, args) {
  const ran = spawnSync('nice', [program, ...args], {
    cwd: build,
    stdio: ['ignore', 'ignore', 'pipe'],
    encoding: 'utf8',
    timeout: BUILD_LIMIT_MS,
    maxBuffer: 2 ** 26,
  });
  if (ran.error) throw new Error(`${program}: ${ran.error.message}`);
  if (ran.status !== 0) throw new Error(`${program} ${args.at(-1)}: ${ran.stderr.trim().split('\n').at(-1)}`);
}

let outcome;
try {
  outcome = prepare();
} catch (error) {
  outcome = `not built: ${error.message}`;
  if (!optional) process.exitCode = 1;
}
console.log(`tools: SQLite ${SOURCE.version}'s ${programs.map(({ name }) => name).join(', ')} ${outcome}`);
