export { isLoopback } from './auth.js';
export { CLIENT_LIMITS, type ClientLimits, SERVER_LIMITS, type ServerLimits } from './limits.js';
export { PROTOCOL_VERSION } from './messages.js';
export { ReplicationServer } from './primary.js';
export type { PrimaryWord } from './primary-word.js';
export { ReplicationClient } from './replica.js';
export type {
  ClientHooks,
  DatabaseProblem,
  ReplicationClientOptions,
  ReplicationLog,
  ReplicationServerOptions,
  ServerHooks,
  WriteAnswer,
  WriteClient,
  WriteMessage,
  WritePeer,
  WriteSender,
  WriteServer,
} from './types.js';
