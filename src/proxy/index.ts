/** What the node and the keeper need of the proxy; the proxy itself is a process of its own (`proxy-main.ts`). */
export type { NodeFacts, Told } from './link-messages.js';
export { type LinkedNode, NodeLinkServer, type Word } from './node-link-server.js';
export { COUNT_NAMES, type ProxyCounts } from './proxy-counts.js';
