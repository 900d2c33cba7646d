// `npm run test:versions`: the core of the tests on other versions of Node.js than the one that runs this.
//
//   npm run test:versions            all versions below
//   npm run test:versions -- 24      those that begin so
//
// Node.js itself comes from npm (the package that `node` installs), pinned, into ${SLUICE_TOOLS:-~/.cache/sluice-tools}, and
// with it better-sqlite3 built for it, so a second run builds nothing. The tests run in a copy of this tree, which has the
// tree's own packages but for that one. Without a registry a version is skipped by name; with CI=true that is a failure.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { addonEnv, build, checkNode, install, isSoundAddon, ROOT, withSetup } from './setup.mjs';

const VERSIONS = ['22.23.3', '24.21.0'];
/** Formats, the file system, what is made of it, and `sluice mount` as a whole. */
const CORE = ['test/ltx/', 'test/sqlite/', 'test/fuse/session', 'test/database/capture.test', 'test/e2e/mount-command'];

const INSTALL_LIMIT_MS = 15 * 60_000;
const TESTS_LIMIT_MS = 10 * 60_000;
const NOT_COPIED = new Set(['.git', 'node_modules', 'data']);
const ADDON = 'better-sqlite3';

const inCi = process.env.CI === 'true';
const tools = process.env.SLUICE_TOOLS || join(homedir(), '.cache', 'sluice-tools');

/** A version of Node.js and its addon, installed; throws an Error of one line. */
function prepare(version) {
  const name = `node-${process.platform}-${process.arch}`;
  const addon = JSON.parse(readFileSync(join(ROOT, 'node_modules', ADDON, 'package.json'), 'utf8')).version;
  const folder = join(tools, `node-${version}-${ADDON}-${addon}`);
  const at = (root) => {
    const node = join(root, 'node_modules', name);
    return { node, bin: join(node, 'bin'), addon: join(root, 'node_modules', ADDON) };
  };
  if (existsSync(folder)) return at(folder);
  console.log(`versions: installing Node.js ${version}, and building ${ADDON} for it; this takes some minutes`);
  const fresh = `${folder}~${process.pid}`;
  try {
    mkdirSync(fresh, { recursive: true });
    const allowScripts = { [ADDON]: true };
    const dependencies = { [name]: version };
    const manifest = join(fresh, 'package.json');
    writeFileSync(manifest, JSON.stringify({ private: true, dependencies, allowScripts }));
    npm(fresh, process.env);
    const { node, bin } = at(fresh);
    writeFileSync(manifest, JSON.stringify({ private: true, dependencies: { ...dependencies, [ADDON]: addon }, allowScripts }));
    const env = { ...addonEnv(version), PATH: `${bin}${delimiter}${process.env.PATH}`, npm_config_nodedir: node };
    npm(fresh, env);
    if (!isSoundAddon(fresh, join(bin, 'node'))) throw new Error(`${ADDON} does not work on it`);
    renameSync(fresh, folder);
    return at(folder);
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
}

function npm(cwd, env) {
  const args = ['install', '--no-audit', '--no-fund', '--no-package-lock', '--loglevel=error', '--fetch-retries=1'];
  const ran = spawnSync('npm', args, { cwd, env, encoding: 'utf8', timeout: INSTALL_LIMIT_MS });
  if (ran.error) throw new Error(`npm install: ${ran.error.message}`);
  if (ran.status !== 0) throw new Error(ran.stderr.trim().split('\n').at(0) || `npm install exited with ${ran.status}`);
}

/** A copy of this tree that finds the other addon. */
function copyTree(tree, addon) {
  cpSync(ROOT, tree, { recursive: true, filter: (path) => !NOT_COPIED.has(path.slice(ROOT.length).split('/')[0]) });
  const packages = join(tree, 'node_modules');
  mkdirSync(packages);
  for (const name of readdirSync(join(ROOT, 'node_modules'))) {
    symlinkSync(name === ADDON ? addon : join(ROOT, 'node_modules', name), join(packages, name));
  }
}

/** True if all passed. */
function runCore(version, { bin, addon }) {
  const tree = mkdtempSync(join(tmpdir(), 'sluice-versions-'));
  try {
    copyTree(tree, addon);
    console.log(`versions: Node.js ${version}`);
    const ran = spawnSync(join(bin, 'node'), ['dist/test/run.js', ...CORE], {
      cwd: tree,
      env: { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH}` },
      stdio: 'inherit',
      timeout: TESTS_LIMIT_MS,
    });
    return ran.status === 0;
  } finally {
    rmSync(tree, { recursive: true, force: true });
  }
}

await withSetup(() => {
  checkNode();
  install();
  build();
});
spawnSync(process.execPath, ['scripts/tools.mjs', '--optional'], { cwd: ROOT, stdio: 'inherit' });
const wanted = process.argv.slice(2);
let failed = false;
for (const version of VERSIONS.filter((one) => wanted.length === 0 || wanted.some((word) => one.startsWith(word)))) {
  let prepared;
  try {
    prepared = prepare(version);
  } catch (error) {
    console.log(`SKIP Node.js ${version}: ${error.message}`);
    failed ||= inCi;
    continue;
  }
  if (!runCore(version, prepared)) failed = true;
}
if (failed) process.exitCode = 1;
