import type { Command } from 'commander';
import type { Config } from '../src/config/index.js';
import { errorCode, SluiceError } from '../src/errors.js';
import type { NodeStatus } from '../src/status.js';

const ANSWER_LIMIT_MS = 10_000;

const EXAMPLES = `
Examples:
  sluice status
  sluice status -c /etc/sluice.yml
  sluice status --url http://127.0.0.1:20302
  sluice status --json | jq '.databases[].txid'`;

interface Options {
  readonly config?: string;
  readonly url?: string;
  readonly token?: string;
  readonly json?: boolean;
}

export function registerStatus(program: Command): void {
  program
    .command('status')
    .description("show a node's role, databases, replicas, backups and problems")
    .option('-c, --config <file>', 'take the address from this config file (default: sluice.yml, or 127.0.0.1:20202)')
    .option('--url <url>', 'the address of the node, like http://127.0.0.1:20202')
    .option('--token <token>', 'its http.token (default: from the config file, or $SLUICE_TOKEN)')
    .option('--json', 'as JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (options: Options) => {
      const { url, token } = await target(options);
      checkToken(token);
      const status = await fetchStatus(url, token);
      if (options.json) return console.log(JSON.stringify(status, null, 2));
      const { formatStatus } = await import('./status-text.js');
      console.log(formatStatus(status, Date.now()));
    });
}

async function target(options: Options): Promise<{ url: URL; token: string | null }> {
  const given = options.token || process.env.SLUICE_TOKEN || null;
  if (options.url !== undefined) return { url: parseUrl(options.url), token: given };
  const { loadConfig } = await import('../src/config/load.js');
  const { http }: Config = loadConfig({ file: options.config });
  if (http.listen === null) {
    throw new SluiceError('STATUS_OFF', 'the config has http.listen: off', 'Name the node with --url, or turn http on');
  }
  const { formatListen } = await import('../src/config/index.js');
  const host = http.listen.host === '0.0.0.0' ? '127.0.0.1' : http.listen.host === '::' ? '::1' : http.listen.host;
  return { url: parseUrl(`http://${formatListen({ host, port: http.listen.port })}`), token: given ?? http.token };
}

function parseUrl(text: string): URL {
  if (/^https?:/.test(text) && URL.canParse(text)) return new URL('/status', text);
  throw new SluiceError('STATUS_URL', `no address of a node: ${text}`, 'Write it like http://127.0.0.1:20202');
}

async function fetchStatus(url: URL, token: string | null): Promise<NodeStatus> {
  const response = await get(url, token);
  if (response.status === 401) {
    throw new SluiceError(
      'STATUS_TOKEN',
      `the node at ${url.host} wants its token`,
      'Give it with --token or $SLUICE_TOKEN',
    );
  }
  if (response.status === 503) {
    throw new SluiceError('STATUS_STARTING', `the node at ${url.host} is still starting`, 'Try again in a moment');
  }
  const body = await response.text();
  try {
    const status: unknown = JSON.parse(body);
    if (response.ok && typeof status === 'object' && status !== null && 'databases' in status)
      return status as NodeStatus;
  } catch {
    // said below
  }
  throw new SluiceError(
    'STATUS_ANSWER',
    `what answers at ${url.host} is no sluice node (HTTP ${response.status})`,
    'Check --url',
  );
}

/** A token as it may stand in a header: `fetch` refuses others with a message that has the token in it. */
function checkToken(token: string | null): void {
  if (token === null || /^[!-~]+$/.test(token)) return;
  throw new SluiceError(
    'STATUS_TOKEN',
    'the token has a space, a line break or a character outside ASCII',
    'A token from a file often has a line break at its end: leave it out',
  );
}

async function get(url: URL, token: string | null): Promise<Response> {
  try {
    return await fetch(url, {
      headers: token === null ? {} : { authorization: `Bearer ${token}` },
      signal: AbortSignal.timeout(ANSWER_LIMIT_MS),
    });
  } catch (error) {
    const cause = error instanceof Error ? error.cause : undefined;
    const reason = errorCode(cause) ?? (error instanceof Error ? error.name : String(error));
    throw new SluiceError(
      'STATUS_UNREACHABLE',
      `no node answers at ${url.host} (${reason})`,
      'Start one with sluice mount, or name another with --url or -c',
      { cause: error },
    );
  }
}
