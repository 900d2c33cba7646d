// Brings a clone to the point where its compiled code can run: dependencies as the lock file has them, addons built for
// this Node.js, dist/ newer than the sources. Plain Node without dependencies, because it runs before there are any.
// What is already right is left alone, so a second run takes a fraction of a second.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('..', import.meta.url));

const MIN_NODE = 20;
/** Its headers make better-sqlite3 unsound: see object-wrap.h. */
const HOOKS_NODE = 24;
const SOURCE_FOLDERS = ['src', 'cmd', 'test', 'bench'];
const BUILT = join(ROOT, 'dist', '.built');

/** What keeps the set-up from going on, for the user: one line, no stack. */
export class SetupError extends Error {}

export function checkNode() {
  if (Number.parseInt(process.versions.node, 10) >= MIN_NODE) return;
  throw new SetupError(`Node.js ${process.versions.node} is too old. Install Node.js ${MIN_NODE} or newer`);
}

/** What mounting needs. */
export function checkMachine() {
  if (process.platform !== 'linux') throw new SetupError(`Sluice is tried on Linux only, and this is ${process.platform}`);
  if (process.geteuid() !== 0 && spawnSync('fusermount', ['-V'], { stdio: 'ignore' }).status !== 0) {
    throw new SetupError('mounting needs root, or fusermount (apt-get install fuse3). Run it with sudo, or install that');
  }
  if (existsSync('/dev/fuse')) return;
  throw new SetupError('there is no /dev/fuse. Run modprobe fuse; in a container: --device /dev/fuse --cap-add SYS_ADMIN');
}

/** `npm ci` if the installed packages are not those of the lock file; a rebuild if they are another Node.js's. */
export function install() {
  if (!isInstalled()) {
    console.error('setup: installing dependencies (npm ci); compiling better-sqlite3 takes some minutes');
    run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], 'npm ci failed', addonEnv());
  }
  buildFuseNative();
  if (isSoundAddon()) return;
  console.error('setup: building better-sqlite3 for this Node.js');
  const env = { ...addonEnv(), npm_config_build_from_source: 'true' };
  run('npm', ['rebuild', 'better-sqlite3', '--loglevel=error'], 'better-sqlite3 could not be built', env);
  if (!isSoundAddon()) {
    throw new SetupError('better-sqlite3 was built, but cannot be loaded. It needs a C++ compiler, make and python3 (apt-get install build-essential python3)');
  }
}

/**
 * Compiles fuse-native, an optional package, with fuse-caller.h, unless it is. Who is root can do without, so a failure
 * is a line.
 */
function buildFuseNative() {
  const folder = join(ROOT, 'node_modules', 'fuse-native');
  if (!existsSync(folder) || hasCallers(folder)) return;
  console.error('setup: building fuse-native');
  const include = `-include '${join(ROOT, 'scripts', 'fuse-caller.h')}'`;
  const env = { ...process.env, CFLAGS: `${process.env.CFLAGS ?? ''} ${include}`.trim(), npm_config_build_from_source: 'true' };
  spawnSync('npm', ['rebuild', 'fuse-native', '--loglevel=error'], { cwd: ROOT, stdio: 'ignore', env });
  if (!hasCallers(folder)) console.error('setup: fuse-native cannot be built here: mounting will need root');
}

/** Whether the binary has CALLER_MAGIC of fuse-caller.h in it. */
function hasCallers(folder) {
  const file = join(folder, 'build', 'Release', 'fuse.node');
  const magic = Buffer.alloc(8);
  magic.writeBigUInt64LE(0x51c1cec0ffee0001n);
  return existsSync(file) && readFileSync(file).includes(magic);
}

/** Compiles if a source is newer than the last build. */
export function build() {
  const newest = Math.max(
    ...SOURCE_FOLDERS.map((folder) => newestMs(join(ROOT, folder))),
    statSync(join(ROOT, 'tsconfig.json')).mtimeMs,
  );
  if (existsSync(BUILT) && statSync(BUILT).mtimeMs > newest) return;
  console.error('setup: compiling');
  rmSync(BUILT, { force: true });
  run(process.execPath, [join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', 'tsconfig.json'], 'the sources do not compile');
  writeFileSync(BUILT, '');
}

/** Runs a set-up's steps; says in one line what went wrong, and ends the process then. */
export async function withSetup(work) {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.error(`sluice: ${error.message}`);
    process.exit(1);
  }
}

export function run(program, args, failure, env = process.env) {
  const { status, error } = spawnSync(program, args, { cwd: ROOT, stdio: ['ignore', 2, 2], env });
  if (error !== undefined) throw new SetupError(`${failure}: ${error.message}`);
  if (status !== 0) throw new SetupError(`${failure}. See above`);
}

function isInstalled() {
  const installed = readLock(join(ROOT, 'node_modules', '.package-lock.json'));
  if (installed === undefined) return false;
  const wanted = readLock(join(ROOT, 'package-lock.json')) ?? {};
  return Object.entries(wanted).every(([path, { version, optional }]) => {
    if (path === '') return true;
    const found = installed[path];
    return found === undefined ? optional === true : found.version === version;
  });
}

function readLock(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8')).packages;
  } catch {
    return undefined;
  }
}

/** The environment to compile better-sqlite3 in, for a version of Node.js. */
export function addonEnv(version = process.versions.node) {
  if (Number.parseInt(version, 10) < HOOKS_NODE) return process.env;
  const include = `-include '${join(ROOT, 'scripts', 'object-wrap.h')}'`;
  return { ...process.env, CXXFLAGS: `${process.env.CXXFLAGS ?? ''} ${include}`.trim() };
}

/**
 * Whether the better-sqlite3 of a folder works, and was compiled without the hooks of object-wrap.h. Tried in a process of
 * its own: an addon for another Node.js cannot be unloaded again.
 */
export function isSoundAddon(folder = ROOT, node = process.execPath) {
  const script = "new (require('better-sqlite3'))(':memory:').close()";
  if (spawnSync(node, ['-e', script], { cwd: folder, stdio: 'ignore' }).status !== 0) return false;
  const file = join(folder, 'node_modules/better-sqlite3/build/Release/better_sqlite3.node');
  return !existsSync(file) || !readFileSync(file).includes('RemoveEnvironmentCleanupHook');
}

function newestMs(folder) {
  if (!existsSync(folder)) return 0;
  let newest = statSync(folder).mtimeMs;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    newest = Math.max(newest, entry.isDirectory() ? newestMs(path) : statSync(path).mtimeMs);
  }
  return newest;
}
