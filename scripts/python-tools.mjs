// Installs the Python applications that the tests run over Sluice's mounts, at pinned versions, with pip:
//
//   node scripts/python-tools.mjs              fails if they cannot be installed
//   node scripts/python-tools.mjs --optional   says so and goes on
//
// They land in ${SLUICE_TOOLS:-~/.cache/sluice-tools}/python, with a stamp that names Python's version and theirs, so a
// second run does nothing. Plain Node without dependencies, because it runs before anything is built.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** Datasette and Django with all that they need: pip resolves nothing by itself. */
const PACKAGES = [
  'datasette==0.65.1',
  'django==5.2.7',
  'aiofiles==25.1.0',
  'anyio==4.16.0',
  'asgi-csrf==0.11',
  'asgiref==3.13.0',
  'certifi==2026.10.18',
  'click==8.5.1',
  'click-default-group==1.2.4',
  'flexcache==0.3',
  'flexparser==0.4',
  'h11==0.16.0',
  'httpcore==1.0.9',
  'httpx==0.28.1',
  'hupper==1.12.1',
  'idna==3.20',
  'itsdangerous==2.2.0',
  'janus==2.0.0',
  'jinja2==3.1.6',
  'markupsafe==3.0.4',
  'mergedeep==1.3.4',
  'platformdirs==4.14.7',
  'pluggy==1.7.0',
  'python-multipart==0.0.34',
  'pyyaml==6.0.3',
  'setuptools==80.10.2',
  'sqlparse==0.6.1',
  'typing-extensions==4.16.0',
  'uvicorn==0.54.0',
];

const INSTALL_TIMEOUT_MS = 10 * 60_000;

const optional = process.argv.includes('--optional');
const tools = process.env.SLUICE_TOOLS || join(homedir(), '.cache', 'sluice-tools');
const folder = join(tools, 'python');
const stampFile = join(folder, '.versions');

/** Returns undefined when it worked, else one line that says why not. */
function install() {
  const python = spawnSync('python3', ['-c', 'import sys; print(*sys.version_info[:2], sep=".")'], { encoding: 'utf8' });
  if (python.error || python.status !== 0) return 'the `python3` command is missing: install Python 3.10 or newer with pip';
  const stamp = `python ${python.stdout.trim()}\n${PACKAGES.join('\n')}\n`;
  if (existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp) return undefined;
  // Beside the old one, which a test may be running from.
  const fresh = join(tools, `python-${process.pid}`);
  mkdirSync(fresh, { recursive: true });
  try {
    const args = ['-m', 'pip', 'install', '--quiet', '--no-deps', '--no-warn-script-location', '--target', fresh];
    const pip = spawnSync('python3', [...args, ...PACKAGES], { encoding: 'utf8', timeout: INSTALL_TIMEOUT_MS });
    if (pip.error) return pip.error.message;
    if (pip.status !== 0) return pip.stderr.trim().split('\n').at(-1) || `pip exited with ${pip.status}`;
    writeFileSync(join(fresh, '.versions'), stamp);
    rmSync(folder, { recursive: true, force: true });
    renameSync(fresh, folder);
    return undefined;
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
}

let problem;
try {
  problem = install();
} catch (error) {
  problem = error.message;
}
console.log(`tools: datasette and django ${problem === undefined ? 'present' : `not installed: ${problem}`}`);
if (problem !== undefined && !optional) process.exitCode = 1;
