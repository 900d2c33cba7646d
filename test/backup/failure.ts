import * as assert from 'uvu/assert';
import { SluiceError } from '../../src/errors.js';

/** What it fails with, which has to be one of ours. */
export async function failure(action: Promise<unknown>): Promise<SluiceError> {
  try {
    await action;
  } catch (error) {
    assert.instance(error, SluiceError);
    return error as SluiceError;
  }
  throw new Error('it succeeded');
}
