import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { withNames } from '../../cmd/store-options.js';
import { SluiceError } from '../../src/errors.js';
import { filledStore, folderPlace } from '../backup/scenario.js';
import { withWorkbench } from '../backup/workbench.js';

test('where there is no backup those below the address are named, and other errors stay as they are', () =>
  withWorkbench(async (bench) => {
    const place = folderPlace(bench);
    await filledStore(bench, place);
    const root = place.open();
    const named = (await withNames(new SluiceError('RESTORE_EMPTY', 'there is no backup'), root)) as SluiceError;
    assert.is(named.hint, 'There are backups of app.db below it: add one of the names to the address');
    const others = [
      new SluiceError('STORE_NOT_FOUND', 'cannot read a file (level 0): no such file'),
      new SluiceError('STORE_NOT_FOUND', 'cannot list: no such bucket', 'Create the bucket, or correct the address'),
      new Error('another one'),
    ];
    for (const error of others) assert.is(await withNames(error, root), error);
  }));

test.run();
