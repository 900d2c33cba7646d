import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { maskConfig } from '../../../../src/config/index.js';
import { loadConfig } from '../../../../src/config/load.js';
import { SluiceError } from '../../../../src/errors.js';
import { attempt, mustHold, type Target, type TargetOpener } from '../target.js';

const FULL = `data: ./data
mount: {path: ./mnt, locks: kernel, wakeups: auto}
http: {listen: "127.0.0.1:0", token: abc, healthLag: 5s}
lease: {type: static, role: replica, primary: "ws://10.0.0.1:20203", advertise: x}
replication:
  listen: off
  retain: {age: 1h, size: 64MiB}
  heartbeat: 1s
backup:
  - url: file:///tmp/backup
    interval: 2s
  - {url: "s3://bucket/x?region=a", endpoint: "http://x", accessKeyId: a, secretAccessKey: b}
log: {level: debug, format: json}
exec: [sh, -c, "true"]
`;

const WORDS = [
  'data:',
  'mount:',
  'http:',
  'token:',
  'backup:',
  'exec:',
  '&a',
  '*a',
  '<<:',
  '? ',
  ': ',
  '- ',
  '[',
  ']',
  '{',
  '}',
  '|',
  '>',
  '---\n',
  '...\n',
  '!!binary ',
  '!!set ',
  '!!omap ',
  '!!timestamp 2001-01-01',
  '!!js/function ',
  '!x ',
  '%YAML 1.1\n---\n',
  '__proto__: ',
  'constructor: ',
  'toString',
  '.inf',
  '.nan',
  '0x1fffffffffffffff',
  '1e999',
  '9'.repeat(40),
  'null',
  '~',
  `\${HOME}`,
  `\${constructor}`,
  '${x:-',
  '\t',
  '\u0000',
  '\ufeff',
  '"\\ud800"',
  '# c\n',
  '\n  ',
  '\r\n',
  "'",
  '"',
  '&a [*a, *a]',
  'a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: [*c, *c, *c, *c, *c, *c, *c, *c, *c]\n',
];

/** The configuration file. */
export const config: TargetOpener = {
  open(folder): Target {
    const file = join(folder, 'sluice.yml');
    return {
      seeds: [FULL, 'mount: ./mnt\n', 'backup: {url: ./backup}\n', '', 'http:\n', 'exec: run --it\n'].map((text) =>
        Buffer.from(text),
      ),
      dictionary: WORDS.map((word) => Buffer.from(word)),
      maxBytes: 3 << 10,
      make: (random) =>
        Buffer.from(
          random.pick(['[', '{a: ', '- ', '? ', '!!set {', '&a [*a,', '"', '>\n ', 'a: ']).repeat(random.below(2000)),
        ),
      run(input) {
        writeFileSync(file, input);
        const loaded = attempt(
          (error) => error instanceof SluiceError,
          () => loadConfig({ file, cwd: folder, env: { HOME: '/home' } }),
        );
        if (!('value' in loaded)) return;
        const { token } = loaded.value.http;
        const shown = maskConfig(loaded.value);
        mustHold(token === null || shown.http.token === '***', 'a secret is shown');
        mustHold(!('polluted' in {}), 'a prototype was changed');
      },
    };
  },
};
