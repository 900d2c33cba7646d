import { decodeHeader, type LtxHeader, type Position } from '../ltx/index.js';
import { MESSAGE_COST_BYTES } from './limits.js';
import type { LargeKind, Message } from './messages.js';

/** What waits in a replica's database to be given to the sink. */
export type Item =
  | { readonly kind: 'transaction'; readonly ltx: Uint8Array; readonly header: LtxHeader | undefined }
  | { readonly kind: 'begin'; readonly large: LargeKind; readonly position: Position; readonly timeMs: number }
  | { readonly kind: 'chunk'; readonly bytes: Uint8Array }
  | { readonly kind: 'end' }
  | { readonly kind: 'abort' }
  | { readonly kind: 'drop'; readonly position: Position }
  | { readonly kind: 'forwarded'; readonly position: Position };

/** The item of a message; undefined for one that is not about a database's content. */
export function itemOf(message: Message): Item | undefined {
  switch (message.type) {
    case 'transaction':
      return { kind: 'transaction', ltx: message.ltx, header: headerOf(message.ltx) };
    case 'large-begin':
      return { kind: 'begin', large: message.kind, position: message.position, timeMs: message.timeMs };
    case 'large-chunk':
      return { kind: 'chunk', bytes: message.bytes };
    case 'large-end':
      return { kind: 'end' };
    case 'large-abort':
      return { kind: 'abort' };
    case 'drop':
      return { kind: 'drop', position: message.position };
    case 'forwarded':
      return { kind: 'forwarded', position: message.position };
    default:
      return undefined;
  }
}

/** What the item took of the database's window, as the primary counts it. */
export function costOf(item: Item): number {
  switch (item.kind) {
    case 'transaction':
      return item.ltx.length + MESSAGE_COST_BYTES;
    case 'chunk':
      return item.bytes.length + MESSAGE_COST_BYTES;
    case 'drop':
    case 'forwarded':
      return MESSAGE_COST_BYTES;
    default:
      return 0;
  }
}

/** When what the item brings was committed, by the primary's clock; undefined if it does not say. */
export function timeOf(item: Item | undefined): number | undefined {
  if (item?.kind === 'transaction') return item.header?.timestampMs;
  return item?.kind === 'begin' ? item.timeMs : undefined;
}

/** Undefined if the bytes are bad: the sink will say so. */
function headerOf(ltx: Uint8Array): LtxHeader | undefined {
  try {
    return decodeHeader(ltx);
  } catch {
    return undefined;
  }
}
