// Installs the suites that `npm run conformance` runs besides SQLite's own, at pinned versions:
//
//   node scripts/conformance-tools.mjs            all of them
//   node scripts/conformance-tools.mjs django     what Django's tests need, or fails
//
// from PyPI (SQLAlchemy's and Django's tests are in their source distributions), Debian (DBD::SQLite), crates.io (fsx) and
// npm (mocha, which better-sqlite3's tests want). They land in ${SLUICE_TOOLS:-~/.cache/sluice-tools}/conformance, one
// folder each; a second run does nothing. What cannot be installed is said, and its suite is skipped by name later.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { needDebianPackages, unpackDebianSource } from './debian-source.mjs';

const INSTALL_LIMIT_MS = 15 * 60_000;

const PYTEST = [
  'pytest==9.2.0',
  'iniconfig==2.3.1',
  'packaging==26.3',
  'pluggy==1.7.0',
  'pygments==2.21.0',
  // For Django and SQLAlchemy themselves.
  'asgiref==3.13.0',
  'sqlparse==0.6.1',
  'typing-extensions==4.16.0',
];
const MOCHA = { mocha: '11.7.5', chai: '4.5.0', 'cli-color': '2.0.4', 'fs-extra': '11.3.2' };
const DBD_SQLITE = {
  name: 'libdbd-sqlite3-perl',
  version: '1.72',
  sha256: '5ca41e61eb52b52bd862a3088b912a75fe70910ac789b9a9983e0a449e94f551',
};

const root = join(process.env.SLUICE_TOOLS || join(homedir(), '.cache', 'sluice-tools'), 'conformance');

const TOOLS = {
  'pytest-9.2.0': (folder) => pip(['install', '--no-warn-script-location', '--target', folder, ...PYTEST]),
  'sqlalchemy-2.0.58': (folder) => sourceDistribution('sqlalchemy', '2.0.58', folder),
  'django-5.2.7': (folder) => sourceDistribution('django', '5.2.7', folder),
  'dbd-sqlite-1.72': (folder) => {
    needDebianPackages([
      { package: 'libdbd-sqlite3-perl', file: '/usr/share/doc/libdbd-sqlite3-perl' },
      { package: 'perl', file: '/usr/bin/prove' },
    ]);
    unpackDebianSource(DBD_SQLITE, folder);
  },
  'fsx-0.2.0': (folder) => run('cargo', ['install', '--quiet', '--locked', '--root', folder, '--version', '0.2.0', 'fsx']),
  'mocha-11.7.5': (folder) => {
    mkdirSync(folder);
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, dependencies: MOCHA }));
    run('npm', ['install', '--no-audit', '--no-fund', '--no-package-lock', '--ignore-scripts', '--loglevel=error'], folder);
  },
};

/** The tests of a project are in what it publishes its sources as. */
function sourceDistribution(name, version, folder) {
  mkdirSync(folder);
  pip(['download', '--no-binary', name, '--dest', folder, `${name}==${version}`]);
  const [tarball] = readdirSync(folder);
  run('tar', ['-xf', join(folder, tarball), '-C', folder, '--strip-components=1']);
  rmSync(join(folder, tarball));
}

function pip([verb, ...args]) {
  run('python3', ['-m', 'pip', verb, '--quiet', '--no-deps', '--disable-pip-version-check', ...args]);
}

function run(program, args, cwd) {
  const ran = spawnSync(program, args, { cwd, encoding: 'utf8', timeout: INSTALL_LIMIT_MS, maxBuffer: 2 ** 26 });
  if (ran.error?.code === 'ENOENT') throw new Error(`the \`${program}\` command is missing`);
  if (ran.error) throw new Error(`${program}: ${ran.error.message}`);
  if (ran.status !== 0) throw new Error(ran.stderr.trim().split('\n').at(-1) || `${program} exited with ${ran.status}`);
}

/** Sets of them that tests want by themselves. */
const SETS = { django: ['pytest-9.2.0', 'django-5.2.7'] };

mkdirSync(root, { recursive: true });
const set = SETS[process.argv[2]];
for (const [name, install] of Object.entries(TOOLS)) {
  if (set !== undefined && !set.includes(name)) continue;
  const folder = join(root, name);
  let outcome = 'present';
  if (!existsSync(folder)) {
    const fresh = `${folder}~${process.pid}`;
    try {
      install(fresh);
      renameSync(fresh, folder);
      outcome = 'installed';
    } catch (error) {
      outcome = `not installed: ${error.message}`;
      if (set !== undefined && !process.argv.includes('--optional')) process.exitCode = 1;
    } finally {
      rmSync(fresh, { recursive: true, force: true });
    }
  }
  console.log(`tools: ${name} ${outcome}`);
}
