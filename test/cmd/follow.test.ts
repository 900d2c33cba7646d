import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { insert, newApp } from '../backup/scenario.js';
import { withWorkbench } from '../backup/workbench.js';
import { openFolder, Uploader } from '../feed/feed-scene.js';
import { until } from '../support/until.js';
import { runSluice } from './run-sluice.js';

const SLUICE = fileURLToPath(new URL('../../cmd/sluice.js', import.meta.url));

test('restore --follow keeps a file up to date, and ends well on Ctrl-C', () =>
  withWorkbench(async (bench) => {
    const { app } = newApp(bench);
    const uploader = new Uploader(openFolder(bench), app);
    await uploader.snapshot();
    await uploader.publish();
    const output = join(bench.folder, 'copy.db');
    const args = [SLUICE, 'restore', '--follow', '--interval', '100ms', '--json', '-o', output, uploader.store.url];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    bench.onEnd(() => child.kill('SIGKILL'));
    let said = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
    }
    await until('it has caught up', () => said.includes('"event":"caught up"'));
    app.write(insert(30));
    await uploader.increment(2);
    await uploader.publish();
    await until('it goes on', () => said.includes('"txid":"0000000000000002"'));
    const ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve(code ?? signal)));
    child.kill('SIGINT');
    assert.is(await ended, 0, said);
    assert.match(said, /"event":"stopped"/);
    assert.ok(readFileSync(output).equals(app.image));
    const refused = await runSluice(['restore', '--follow', '--txid', '1', uploader.store.url], bench.folder);
    assert.is.not(refused.code, 0);
    const wrong = await runSluice(['restore', '--follow', `${uploader.store.url}x`], bench.folder);
    assert.match(wrong.stderr, /there is no backup/);
  }));

test.run();
