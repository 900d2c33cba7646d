import { commitNew } from './killed-commit.js';

/** A program: one transaction over two databases, whose paths it is given. */
const [main, attached] = process.argv.slice(2);
commitNew(main!, attached!);
