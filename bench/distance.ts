import { connect, createServer, type Socket } from 'node:net';

/** A program: `distance.js PORT ONE_WAY_MS` carries TCP connections to that port of this machine, each byte so much later, and tells its own port. */
const [port, oneWay] = process.argv.slice(2).map(Number);

function carry(from: Socket, to: Socket): void {
  from.on('data', (bytes: Buffer) => setTimeout(() => to.write(bytes), oneWay));
  from.on('error', () => undefined);
  from.on('close', () => to.destroy());
  from.setNoDelay(true);
}

const server = createServer((near) => {
  const far = connect(port!, '127.0.0.1');
  carry(near, far);
  carry(far, near);
});
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  process.send!(typeof address === 'object' && address !== null ? address.port : 0);
});
process.on('disconnect', () => process.exit(0));
