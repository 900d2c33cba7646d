import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Config } from '../config/index.js';
import { SluiceError } from '../errors.js';
import { CONFIG_LIMIT_MS } from './limits.js';
import type { FailureText } from './messages.js';

const PROGRAM = fileURLToPath(new URL('../config/print.js', import.meta.url));

/**
 * The effective configuration, read by a process that ends afterwards: neither the keeper nor a node has to carry what
 * reading it takes. Throws the error of `loadConfig`, or `CONFIG_FAILED`.
 */
export async function readConfig(file: string | null): Promise<Config> {
  const answer = parse(await run(file === null ? [] : [file]));
  if (answer.config !== undefined) return answer.config;
  const { code, message, hint } = answer.failure ?? {
    code: 'CONFIG_FAILED',
    message: 'the config cannot be read',
    hint: '',
  };
  throw new SluiceError(code, message, hint);
}

function parse(text: string): { readonly config?: Config; readonly failure?: FailureText } {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

function run(args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [PROGRAM, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
      timeout: CONFIG_LIMIT_MS,
    });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    child.once('error', reject);
    child.once('close', () => resolve(text));
  });
}
