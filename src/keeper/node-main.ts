import { startNode } from '../node.js';
import { runNode } from './node-child.js';

await runNode(startNode);
