// Installs the outside programs that the tests use as judges, at pinned versions, with `go install`:
//
//   node scripts/tools.mjs              fails if one cannot be installed
//   node scripts/tools.mjs --optional   says so and goes on
//
// and builds the one of this tree, the judge of linearizability, whose library is pinned in its go.sum.
//
// They land in ${SLUICE_TOOLS:-~/.cache/sluice-tools}/bin, beside a stamp per tool that names its version, so a second
// run does nothing. SQLite's shell and fusermount are the system's; without --optional apt-get installs them. Plain Node without dependencies, because it runs before anything is built.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const TOOLS = [
  { name: 'ltx', package: 'github.com/superfly/ltx/cmd/ltx', version: 'v0.5.3' },
  { name: 'litestream', package: 'github.com/benbjohnson/litestream/cmd/litestream', version: 'v0.5.18' },
  { name: 'versitygw', package: 'github.com/versity/versitygw/cmd/versitygw', version: 'v1.8.0' },
  ownTool('linear-checker', 'test/soak/linear/checker'),
];

/** A Go program of this tree: its version is what its files hold. */
function ownTool(name, path) {
  const folder = fileURLToPath(new URL(`../${path}`, import.meta.url));
  const hash = createHash('sha256');
  for (const file of readdirSync(folder).sort()) hash.update(file).update(readFileSync(join(folder, file)));
  return { name, folder, version: hash.digest('hex').slice(0, 12) };
}

/** The first build fetches and compiles a few hundred packages; small machines are slow at it. */
const INSTALL_TIMEOUT_MS = 15 * 60_000;

const optional = process.argv.includes('--optional');
const binFolder = join(process.env.SLUICE_TOOLS || join(homedir(), '.cache', 'sluice-tools'), 'bin');

function isInstalled(tool) {
  const stamp = join(binFolder, `.${tool.name}.version`);
  if (!existsSync(join(binFolder, tool.name)) || !existsSync(stamp)) return false;
  return readFileSync(stamp, 'utf8').trim() === tool.version;
}

/** Returns undefined when it worked, else one line that says why not. */
function install(tool) {
  const args = tool.folder === undefined ? ['install', `${tool.package}@${tool.version}`] : ['build', '-C', tool.folder, '-o', join(binFolder, tool.name), '.'];
  const go = spawnSync('go', args, {
    env: { ...process.env, GOBIN: binFolder },
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
    timeout: INSTALL_TIMEOUT_MS,
  });
  if (go.error?.code === 'ENOENT') return 'the `go` command is missing: install Go 1.24 or newer';
  if (go.error) return go.error.message;
  if (go.status !== 0) return go.stderr.trim().split('\n').at(-1) || `go ${args[0]} exited with ${go.status}`;
  writeFileSync(join(binFolder, `.${tool.name}.version`), `${tool.version}\n`);
  return undefined;
}

/** Programs of the system's packages. */
const PACKAGED = [
  { name: 'sqlite3', option: '-version', package: 'sqlite3' },
  // By which users that are not root mount.
  { name: 'fusermount', option: '-V', package: 'fuse3' },
];

/** Returns undefined when it is there, else one line that says why not. */
function installPackaged(program) {
  if (runs(program)) return undefined;
  if (optional) return `apt-get install ${program.package} installs it`;
  const apt = spawnSync('apt-get', ['install', '-y', '--no-install-recommends', program.package], {
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
    timeout: INSTALL_TIMEOUT_MS,
  });
  if (apt.error) return apt.error.message;
  return runs(program) ? undefined : apt.stderr.trim().split('\n').at(-1) || `apt-get exited with ${apt.status}`;
}

const runs = ({ name, option }) => spawnSync(name, [option], { timeout: 10_000 }).status === 0;

let failed = false;
try {
  mkdirSync(binFolder, { recursive: true });
  for (const tool of TOOLS) {
    const present = isInstalled(tool);
    const problem = present ? undefined : install(tool);
    if (problem !== undefined) failed = true;
    const outcome = problem !== undefined ? `not installed: ${problem}` : present ? 'present' : 'installed';
    console.log(`tools: ${tool.name} ${tool.version} ${outcome}`);
  }
  for (const program of PACKAGED) {
    const problem = installPackaged(program);
    if (problem !== undefined) failed = true;
    console.log(`tools: ${program.name} ${problem === undefined ? 'present' : `not installed: ${problem}`}`);
  }
} catch (error) {
  failed = true;
  console.log(`tools: ${error.message}`);
}
if (failed && !optional) process.exitCode = 1;
