import { describeError, errorCode, SluiceError } from '../errors.js';
import { loadConfig } from './load.js';

/**
 * A program: `print.js [FILE]` writes the effective configuration, or what is wrong with it, to stdout as one JSON
 * object: `{ "config": … }` or `{ "failure": { "code", "message", "hint" } }`. The keeper reads it from here.
 */
console.log(JSON.stringify(read(process.argv[2])));

function read(file: string | undefined): object {
  try {
    return { config: loadConfig({ file }) };
  } catch (error) {
    if (error instanceof SluiceError) {
      return { failure: { code: error.code, message: error.message, hint: error.hint } };
    }
    return { failure: { code: errorCode(error) ?? 'CONFIG_FAILED', message: describeError(error), hint: '' } };
  }
}
