import { startNode } from '../node.js';
import { restoreOnStart } from '../restore-on-start.js';
import { runNode } from './node-child.js';

await runNode(startNode, restoreOnStart);
