import { createHash, timingSafeEqual } from 'node:crypto';

/** Whether an `Authorization: Bearer …` header carries the token. Takes the same time whatever is wrong with it. */
export function bearerMatches(header: string | undefined, token: string): boolean {
  const given = /^Bearer +(\S+) *$/i.exec(header ?? '')?.[1] ?? '';
  return timingSafeEqual(digest(given), digest(token));
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
