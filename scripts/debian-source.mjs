// Upstream's own tarball of a Debian source package, verified; and the Debian packages that a build needs.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** The release that has the pinned versions. */
const SUITE = 'bookworm';
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
const APT_SOURCES = ['/etc/apt/sources.list', '/etc/apt/sources.list.d/debian.sources'];
const MIRROR = /\bhttps?:\/\/\S*debian\/?(?=\s|$)/;
const APT_LIMIT_MS = 5 * 60_000;

/**
 * Unpacks upstream's tarball of a source package into a folder, which must not be there yet. An apt state of its own is
 * used, with source lines alone: the system's is left as it is. Throws an Error of one line.
 */
export function unpackDebianSource({ name, version, sha256 }, folder) {
  const scratch = mkdtempSync(join(tmpdir(), 'sluice-debian-source-'));
  try {
    for (const part of ['parts', 'lists/partial', 'get']) mkdirSync(join(scratch, part), { recursive: true });
    writeFileSync(
      join(scratch, 'parts', 'source.sources'),
      `Types: deb-src\nURIs: ${mirror()}\nSuites: ${SUITE}\nComponents: main\nSigned-By: ${KEYRING}\n`,
    );
    const apt = [
      ['Dir::Etc::sourcelist', '/dev/null'],
      ['Dir::Etc::sourceparts', join(scratch, 'parts')],
      ['Dir::State::lists', join(scratch, 'lists')],
      ['Dir::Cache::pkgcache', ''],
      ['Dir::Cache::srcpkgcache', ''],
      ['APT::Sandbox::User', 'root'],
    ].flatMap(([key, value]) => ['-o', `${key}=${value}`]);
    run('apt-get', [...apt, '-q', 'update']);
    run('apt-get', [...apt, '-q', 'source', '--download-only', name], join(scratch, 'get'));
    const tarball = readdirSync(join(scratch, 'get')).find((file) => file.startsWith(`${name}_${version}.orig.tar.`));
    if (tarball === undefined) throw new Error(`${name} in ${SUITE} is not ${version}`);
    const path = join(scratch, 'get', tarball);
    const found = createHash('sha256').update(readFileSync(path)).digest('hex');
    if (found !== sha256) throw new Error(`${tarball} has the wrong SHA-256: ${found}`);
    mkdirSync(folder, { recursive: true });
    run('tar', ['-xf', path, '-C', folder, '--strip-components=1']);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Makes sure of files of Debian packages. With CI=true what is missing is installed, else an Error names the packages. */
export function needDebianPackages(wanted) {
  const missing = wanted.filter(({ file }) => !existsSync(file)).map((one) => one.package);
  if (missing.length === 0) return;
  if (process.env.CI !== 'true') throw new Error(`something is missing: apt-get install ${missing.join(' ')}`);
  run('apt-get', ['-q', 'update']);
  run('apt-get', ['-q', '-y', '--no-install-recommends', 'install', ...missing]);
}

/** The mirror that this machine uses. */
function mirror() {
  for (const file of APT_SOURCES.filter((path) => existsSync(path))) {
    const found = MIRROR.exec(readFileSync(file, 'utf8').replace(/^\s*#.*$/gm, ''))?.[0];
    if (found !== undefined) return found;
  }
  throw new Error('apt knows no Debian mirror');
}

function run(program, args, cwd) {
  const ran = spawnSync(program, args, {
    cwd,
    stdio: ['ignore', 'ignore', 'pipe'],
    encoding: 'utf8',
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    timeout: APT_LIMIT_MS,
  });
  if (ran.error) throw new Error(`${program}: ${ran.error.message}`);
  if (ran.status !== 0) throw new Error(`${program} ${args.at(-1)}: ${ran.stderr.trim().split('\n').at(-1)}`);
}
