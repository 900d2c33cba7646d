export { type Fitness, type Health, healthOf, lagOf, publicReason } from './health.js';
export { Metrics } from './metrics.js';
export { type HttpOptions, type HttpServer, startHttp } from './server.js';
