import { runProxyProcess } from './proxy-process.js';

runProxyProcess();
