/**
 * For applications on a mount of Sluice: `import { connect } from 'sluice/client'`. Talks with the node by the files under the
 * mount alone.
 */

export { SluiceError } from '../errors.js';
export { type Connection, connect } from './connection.js';
export type { WaitOptions } from './patience.js';
