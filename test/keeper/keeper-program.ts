import { fileURLToPath } from 'node:url';
import { describeError } from '../../src/errors.js';
import { runKeeper } from '../../src/keeper/index.js';

/** A keeper over the fake node: `keeper-program.js CONFIG [COMMAND…]`. */
const [file = '', ...command] = process.argv.slice(2);
try {
  process.exitCode = await runKeeper({
    file,
    command: command.length === 0 ? null : command,
    limits: JSON.parse(process.env.KEEPER_LIMITS ?? '{}'),
    nodeEntry: fileURLToPath(new URL('./fake-node.js', import.meta.url)),
  });
} catch (error) {
  process.stderr.write(`sluice: ${describeError(error)}\n`);
  process.exitCode = 1;
}
