import { createHmac, timingSafeEqual } from 'node:crypto';
import { MARK_AGE_MS } from './limits.js';

/** The header by which one proxy tells another that it forwards. Nobody else's gets further than the next proxy. */
export const MARK_HEADER = 'sluice-forwarded';

const SHAPE = /^([0-9a-z]{1,12})\.([A-Za-z0-9_-]{43})$/;

/** What a mark vouches for: that a proxy of the cluster has set these, for this request. */
export interface Marked {
  readonly method: string;
  readonly target: string;
  readonly forwardedFor: string;
  readonly forwardedProto: string;
  readonly forwardedHost: string;
}

export function makeMark(marked: Marked, key: Buffer, nowMs: number): string {
  const time = Math.floor(nowMs).toString(36);
  return `${time}.${macOf(marked, time, key).toString('base64url')}`;
}

/** Whether a proxy with the same key made it, within the last minute by both clocks. */
export function isMark(text: string, marked: Marked, key: Buffer, nowMs: number): boolean {
  const match = SHAPE.exec(text);
  if (match === null) return false;
  const [, time = '', mac = ''] = match;
  if (!timingSafeEqual(macOf(marked, time, key), Buffer.from(mac, 'base64url'))) return false;
  return Math.abs(nowMs - Number.parseInt(time, 36)) <= MARK_AGE_MS;
}

/** No field can have a line break, so each is told from the next. */
function macOf(marked: Marked, time: string, key: Buffer): Buffer {
  const { method, target, forwardedFor, forwardedProto, forwardedHost } = marked;
  const text = [time, method, target, forwardedFor, forwardedProto, forwardedHost].join('\n');
  return createHmac('sha256', key).update(text, 'latin1').digest();
}
