import type { Config } from '../src/config/index.js';
import { errorCode, SluiceError } from '../src/errors.js';
import type { BackupRun, NodeStatus } from '../src/status.js';

const ANSWER_LIMIT_MS = 10_000;
/** A node uploads before it answers. */
const BACKUP_LIMIT_MS = 10 * 60_000;

/** How a command line names a node. */
export interface NodeOptions {
  readonly config?: string;
  readonly url?: string;
  readonly token?: string;
}

/** A running node. */
export interface NodeAddress {
  readonly url: URL;
  readonly token: string | null;
}

/** By its address, or by the config file that it was started with. Throws `STATUS_*`. */
export async function findNode(options: NodeOptions): Promise<NodeAddress> {
  const address = await target(options);
  checkToken(address.token);
  return address;
}

/** Throws `STATUS_*`. */
export async function readStatus(node: NodeAddress): Promise<NodeStatus> {
  const answer = await ask(node, '/status', 'GET', ANSWER_LIMIT_MS);
  if (typeof answer === 'object' && answer !== null && 'databases' in answer) return answer as NodeStatus;
  throw noNode(node);
}

/** Has a primary store all that is not stored yet, and with `snapshot` whole databases; resolves when it is, or it failed. Throws `STATUS_*`. */
export async function backUpNow(node: NodeAddress, snapshot: boolean): Promise<readonly BackupRun[]> {
  const answer = await ask(node, `/backup?snapshot=${snapshot}`, 'POST', BACKUP_LIMIT_MS);
  if (typeof answer === 'object' && answer !== null && 'stores' in answer && Array.isArray(answer.stores))
    return answer.stores as BackupRun[];
  throw noNode(node);
}

async function target(options: NodeOptions): Promise<NodeAddress> {
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
  if (/^https?:/.test(text) && URL.canParse(text)) return new URL(text);
  throw new SluiceError('STATUS_URL', `no address of a node: ${text}`, 'Write it like http://127.0.0.1:20202');
}

/** What the node answers; undefined if it is no JSON. */
async function ask(node: NodeAddress, path: string, method: 'GET' | 'POST', limitMs: number): Promise<unknown> {
  const { host } = node.url;
  const response = await get(node, path, method, limitMs);
  if (response.status === 401) {
    throw new SluiceError(
      'STATUS_TOKEN',
      `the node at ${host} wants its token`,
      'Give it with --token or $SLUICE_TOKEN',
    );
  }
  if (response.status === 503) {
    throw new SluiceError('STATUS_STARTING', `the node at ${host} is still starting`, 'Try again in a moment');
  }
  const answer = parse(await response.text());
  if (response.status === 409 && typeof answer === 'object' && answer !== null && 'error' in answer) {
    throw new SluiceError('STATUS_REFUSED', `the node at ${host}: ${String(answer.error)}`);
  }
  if (!response.ok) throw noNode(node, response.status);
  return answer;
}

function parse(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

function noNode({ url }: NodeAddress, status = 200): SluiceError {
  return new SluiceError(
    'STATUS_ANSWER',
    `what answers at ${url.host} is no sluice node (HTTP ${status})`,
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

async function get({ url, token }: NodeAddress, path: string, method: string, limitMs: number): Promise<Response> {
  try {
    return await fetch(new URL(path, url), {
      method,
      headers: token === null ? {} : { authorization: `Bearer ${token}` },
      signal: AbortSignal.timeout(limitMs),
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
