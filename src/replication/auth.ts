import { createHash, timingSafeEqual } from 'node:crypto';
import { isIPv4 } from 'node:net';
import { SluiceError } from '../errors.js';

/** True for 127.0.0.0/8, ::1, the IPv4-mapped form of the first, and `localhost`. */
export function isLoopback(host: string): boolean {
  const address = host
    .toLowerCase()
    .replace(/^\[|\]$/g, '')
    .replace(/^::ffff:/, '');
  return address === 'localhost' || address === '::1' || (isIPv4(address) && address.startsWith('127.'));
}

/** Throws `TOKEN_REQUIRED` if `host` can be reached from other machines and there is no token. */
export function requireToken(host: string, token: string | undefined): void {
  if (isLoopback(host) || (token !== undefined && token !== '')) return;
  throw new SluiceError(
    'TOKEN_REQUIRED',
    `replication may not listen on ${host} without a token`,
    'Set replication.token, the same on all nodes, or listen on 127.0.0.1',
  );
}

/** The value of the Authorization header that shows the token. */
export function authorization(token: string): string {
  return `Bearer ${token}`;
}

/**
 * True if an Authorization header shows the token. Both are hashed first, so the time taken tells neither the
 * token's length nor how much of it was right. Without a token everything is accepted.
 */
export function isAuthorized(header: string | undefined, token: string | undefined): boolean {
  if (token === undefined || token === '') return true;
  return timingSafeEqual(digest(header ?? ''), digest(authorization(token)));
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
