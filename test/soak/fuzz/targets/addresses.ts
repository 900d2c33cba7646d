import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import {
  compareFiles,
  formatFileName,
  formatFilePath,
  formatObjectKey,
  parseFileName,
  parseObjectKey,
} from '../../../../src/backup/file-names.js';
import { databaseUrl, parseStoreUrl } from '../../../../src/backup/urls.js';
import { expandVariables, MissingVariable } from '../../../../src/config/expand.js';
import { formatListen, parseDuration, parseListen, parseSize } from '../../../../src/config/index.js';
import { checkName } from '../../../../src/database/names.js';
import { UnloggedMarks } from '../../../../src/database/unlogged-marks.js';
import { SluiceError } from '../../../../src/errors.js';
import { bearerMatches } from '../../../../src/http/token.js';
import { formatPosition, parsePosition } from '../../../../src/ltx/index.js';
import { isAuthorized, isLoopback } from '../../../../src/replication/auth.js';
import { isDatabaseName } from '../../../../src/replication/fields.js';
import { companionOf } from '../../../../src/sqlite/index.js';
import type { Random } from '../random.js';
import { attempt, mustHold, type Target, type TargetOpener } from '../target.js';

const isOurs = (error: unknown): boolean => error instanceof SluiceError;
const texts = (...list: string[]): Buffer[] => list.map((text) => Buffer.from(text));

const ADDRESS_WORDS = texts(
  'file:',
  '//',
  '%',
  '%2e%2e',
  '%00',
  '?',
  '&',
  '=',
  's3://',
  'Bearer ',
  '${',
  ':-',
  '}',
  'constructor',
  '__proto__',
  '[',
  ']',
  '..',
  '::ffff:',
  '\u0000',
  '\ud83d\ude42',
  '9'.repeat(400),
);
const NAME_WORDS = texts(
  '..',
  '.',
  '/',
  '//',
  '\u0000',
  '-wal',
  '-shm',
  '-journal',
  '.sluice-',
  'ffffffffffffffff',
  '.ltx',
  '0000',
  '\ud83d\ude42',
  'x'.repeat(255),
);

/** Words in a row: what is wrong only in a certain order. */
function sentence(words: readonly Buffer[], random: Random): Buffer {
  return Buffer.concat(Array.from({ length: 1 + random.below(6) }, () => random.pick(words)));
}

/** What people and other programs write: addresses, sizes, durations, variables, tokens. */
export const addresses: TargetOpener = {
  open: (): Target => ({
    seeds: texts(
      'file:///srv/backup/app.db',
      'file://./backup/%61pp.db',
      's3://bucket/path/x?endpoint=http://127.0.0.1:7070&region=eu-west-1&path-style=true',
      's3://key:secret@bucket/x?forcePathStyle=0',
      '127.0.0.1:20202',
      '[::1%eth0]:1',
      '1.5GiB',
      '24h',
      `a\${HOME:-x}b$$\${NONE}\${A:-\${B}}`,
      'Bearer secret',
    ),
    dictionary: ADDRESS_WORDS,
    make: (random) => sentence(ADDRESS_WORDS, random),
    maxBytes: 2000,
    run: (input) => readText(input.toString('utf8'), input.toString('latin1')),
  }),
};

function readText(text: string, latin1: string): void {
  for (const each of [text, latin1]) {
    const url = attempt(isOurs, () => parseStoreUrl(each));
    if ('value' in url && url.value.scheme === 'file') {
      mustHold(url.value.path === resolve(url.value.path) && !url.value.path.includes('\0'), 'a path that is none');
    }
    const listen = parseListen(each);
    if (listen !== undefined) {
      mustHold(
        JSON.stringify(parseListen(formatListen(listen))) === JSON.stringify(listen),
        'another address when printed',
      );
    }
    for (const number of [parseDuration(each), parseSize(each)]) {
      mustHold(number === undefined || (Number.isSafeInteger(number) && number >= 0), 'a number that is none');
    }
    const expanded = attempt(
      (error) => error instanceof MissingVariable || error instanceof RangeError,
      () => expandVariables(each, { HOME: '/home', A: '' }),
    );
    if ('value' in expanded)
      mustHold(
        !/native code|\[object/.test(expanded.value) || /native code|\[object/.test(each),
        'a variable that nobody set',
      );
    mustHold(!bearerMatches(each, 'a token that nobody guesses 5d1f'), 'a token');
    mustHold(!isAuthorized(each, 'a token that nobody guesses 5d1f'), 'a token');
    isLoopback(each);
  }
}

/** Names of databases, of stored files, and positions. */
export const names: TargetOpener = {
  open(folder): Target {
    mkdirSync(join(folder, 'marks'));
    const marks = new UnloggedMarks(join(folder, 'marks'));
    return {
      seeds: texts(
        'app.db',
        'a/b/c.db',
        'app.db-wal',
        '0000000000000001-00000000000000ff.ltx',
        '0009/0000000000000001-001fffffffffffff.ltx',
        '0000000000000007/f123456789abcdef',
      ),
      dictionary: NAME_WORDS,
      make: (random) => sentence(NAME_WORDS, random),
      maxBytes: 1500,
      run: (input) => readName(input.toString('utf8'), marks),
    };
  },
};

function readName(text: string, marks: UnloggedMarks): void {
  const checked = attempt(isOurs, () => checkName(text));
  const below = join('/mount', text);
  if ('value' in checked) {
    mustHold(isDatabaseName(text), 'a name of ours that may not be sent');
    mustHold(below === `/mount/${text}` && Buffer.byteLength(text) <= 1024, 'a name that leads out of the mount');
    const url = databaseUrl('file:///store', text);
    const place = parseStoreUrl(url);
    mustHold(place.scheme === 'file' && place.path === `/store/${text}`, 'a name with another place in the store');
  }
  if (isDatabaseName(text)) mustHold(below === `/mount/${text}`, 'a name from the wire that leads out of the mount');
  marks.has(text);
  const companion = companionOf(text);
  mustHold(
    companion === undefined || `${companion.database}-${companion.kind}` === text,
    'a companion of another name',
  );
  const file = parseFileName(text);
  if (file !== undefined) {
    mustHold(formatFileName({ level: 0, ...file }) === text, 'the name of a file is another when printed');
    formatFilePath({ level: 3, ...file });
  }
  const key = parseObjectKey(text);
  if (key !== undefined) {
    mustHold(formatObjectKey(key) === text, 'the name of an object is another when printed');
    mustHold(compareFiles(key, key) === 0, 'not itself');
  }
  const position = attempt(isOurs, () => parsePosition(text));
  if ('value' in position)
    mustHold(formatPosition(position.value).startsWith(text.trim().slice(0, 33).toLowerCase()), 'another position');
}
