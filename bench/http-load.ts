import { connect } from 'node:net';

/**
 * `node http-load.js METHOD PORT CONNECTIONS SECONDS [HEADER]`: so many connections, one request for `/` after the other on each,
 * and prints requests a second and the median and 99th percentile of their time in microseconds, as JSON. The first second does
 * not count. By hand, since node:http would be slower than what it measures.
 */
const [port, connections, seconds] = process.argv.slice(3, 6).map(Number) as [number, number, number];
const [method, header] = [process.argv[2], process.argv[6]];
const length = method === 'POST' ? 'Content-Length: 0\r\n' : '';
const request = Buffer.from(
  `${method} / HTTP/1.1\r\nHost: bench\r\n${length}${header === undefined ? '' : `${header}\r\n`}\r\n`,
);
const startMs = performance.now() + 1000;
const endMs = startMs + seconds * 1000;
const times: number[] = [];

await Promise.all(Array.from({ length: connections }, ask));
times.sort((a, b) => a - b);
const at = (share: number) => times[Math.floor(times.length * share)]! * 1000;
console.log(JSON.stringify({ perSecond: times.length / seconds, p50: at(0.5), p99: at(0.99) }));

function ask(): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1').setNoDelay(true);
    let text = '';
    let sentMs = 0;
    const send = () => {
      text = '';
      sentMs = performance.now();
      socket.write(request);
    };
    socket.on('connect', send);
    socket.on('error', reject);
    socket.on('data', (data) => {
      text += data.toString('latin1');
      const head = text.indexOf('\r\n\r\n');
      if (head < 0 || text.length < head + 4 + Number(/content-length: (\d+)/i.exec(text)?.[1])) return;
      if (!text.startsWith('HTTP/1.1 200')) reject(new Error(text.slice(0, 200)));
      const nowMs = performance.now();
      if (sentMs >= startMs) times.push(nowMs - sentMs);
      if (nowMs < endMs) send();
      else socket.destroy(undefined).once('close', resolve);
    });
  });
}
