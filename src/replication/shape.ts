import { SluiceError } from '../errors.js';
import { MAX_DATABASES } from './limits.js';

/** A message, its list of positions, one position. */
const MAX_DEPTH = 3;
/** Of a list of as many positions as there may be: each is an array of four values. A few more stand before it. */
const MAX_VALUES = 5 * MAX_DATABASES + 16;

/** The error for bytes that are not a message of this protocol. The connection they came by is of no use any more. */
export function badMessage(what: string): SluiceError {
  return new SluiceError('REPLICATION_MESSAGE', `bad replication message: ${what}`);
}

/**
 * Checks, before msgpackr sees them, that bytes are one array of plain values and nothing else: no maps, no extensions
 * (records, dates, regular expressions, typed arrays, references), no bytes left over, no array longer than what
 * follows it, no more values than the longest message has (one of a byte can take forty in memory). So what msgpackr takes
 * of memory is bounded by the message. Throws `REPLICATION_MESSAGE`.
 */
export function checkShape(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length === 0 || !isArray(bytes[0]!)) throw badMessage('not an array');
  const left = new Array<number>(MAX_DEPTH + 1).fill(0);
  left[0] = 1;
  let depth = 0;
  let position = 0;
  let values = 0;
  while (depth >= 0) {
    if (left[depth] === 0) {
      depth--;
      continue;
    }
    left[depth]!--;
    if (++values > MAX_VALUES) throw badMessage(`more than ${MAX_VALUES} values`);
    if (position >= bytes.length) throw badMessage('cut short');
    const token = bytes[position]!;
    const width = headWidth(token);
    if (position + width > bytes.length) throw badMessage('cut short');
    const length = payloadLength(view, position, token);
    position += width;
    if (length > bytes.length - position) throw badMessage('a length beyond its end');
    if (!isArray(token)) {
      position += length;
      continue;
    }
    depth++;
    if (depth > MAX_DEPTH) throw badMessage('nested too deeply');
    left[depth] = length;
  }
  if (position !== bytes.length) throw badMessage('bytes after its end');
}

function isArray(token: number): boolean {
  return (token & 0xf0) === 0x90 || token === 0xdc || token === 0xdd;
}

/** Bytes of the token with the length or number that follows it. Throws for every type that no message has. */
function headWidth(token: number): number {
  if (token < 0x80 || token >= 0xe0) return 1; // small integers
  if (token >= 0x90 && token < 0xc0) return 1; // small arrays and strings
  switch (token) {
    case 0xc0: // nil
    case 0xc2: // false
    case 0xc3: // true
      return 1;
    case 0xc4: // bytes
    case 0xcc: // u8
    case 0xd0: // i8
    case 0xd9: // string
      return 2;
    case 0xc5:
    case 0xcd:
    case 0xd1:
    case 0xda:
    case 0xdc: // array
      return 3;
    case 0xc6:
    case 0xce:
    case 0xd2:
    case 0xdb:
    case 0xdd:
      return 5;
    case 0xcb: // f64
    case 0xcf: // u64
    case 0xd3: // i64
      return 9;
    default:
      throw badMessage(`type 0x${token.toString(16)} is not allowed`);
  }
}

/** Bytes that follow the head of a string or of bytes, elements of an array; 0 for everything else. */
function payloadLength(view: DataView, position: number, token: number): number {
  if ((token & 0xf0) === 0x90) return token & 0x0f;
  if ((token & 0xe0) === 0xa0) return token & 0x1f;
  switch (token) {
    case 0xc4:
    case 0xd9:
      return view.getUint8(position + 1);
    case 0xc5:
    case 0xda:
    case 0xdc:
      return view.getUint16(position + 1);
    case 0xc6:
    case 0xdb:
    case 0xdd:
      return view.getUint32(position + 1);
    default:
      return 0;
  }
}
