import { readFileSync } from 'node:fs';
import { Agent } from 'node:https';
import { rootCertificates } from 'node:tls';
import { describeError, SluiceError } from '../errors.js';

/** As many as the SDK's own agent has. */
const SOCKETS = 50;

/**
 * What connects where certificates of one's own count beside the usual ones; undefined without `caFile`. An agent's own
 * list takes the place of Node's, so what NODE_EXTRA_CA_CERTS names is in it too. Throws `STORE_FAILED`.
 */
export function trustingAgent(caFile: string | undefined, env: NodeJS.ProcessEnv): Agent | undefined {
  if (!caFile) return undefined;
  const extra = env.NODE_EXTRA_CA_CERTS;
  const ca = [...rootCertificates, readCertificates(caFile), ...(extra ? [readCertificates(extra)] : [])];
  return new Agent({ keepAlive: true, maxSockets: SOCKETS, ca });
}

function readCertificates(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw failure(`cannot read the certificates in ${path}: ${describeError(cause)}`, cause);
  }
  if (!text.includes('-----BEGIN CERTIFICATE-----')) throw failure(`${path} holds no certificate`);
  return text;
}

function failure(message: string, cause?: unknown): SluiceError {
  const hint = 'caFile in sluice.yml, or AWS_CA_BUNDLE, names a file of certificates in PEM';
  return new SluiceError('STORE_FAILED', message, hint, { cause });
}
