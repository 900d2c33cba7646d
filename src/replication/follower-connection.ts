import type { Socket } from 'node:net';
import { type RawData, WebSocket } from 'ws';
import { describeError, errorCode } from '../errors.js';
import { Follower } from './follower.js';
import type { FollowerContext } from './follower-stream.js';
import { MAX_DATABASES, MAX_MESSAGE_BYTES } from './limits.js';
import {
  type DatabasePosition,
  decodeMessage,
  encodeMessage,
  type Message,
  PROTOCOL_VERSION,
  versionText,
} from './messages.js';
import { badMessage } from './shape.js';
import { SilenceWatch } from './silence-watch.js';

type Hello = Extract<Message, { type: 'hello' }>;

/** WebSocket close code for a peer that breaks the protocol. */
const POLICY_VIOLATION = 1008;

export interface FollowerConnectionOptions {
  readonly context: FollowerContext;
  readonly nodeId: string;
  /** See `hello-reply`. */
  readonly run: bigint;
  readonly advertise: string | null;
  readonly proxy: string | null;
  readonly wantsStored: boolean;
  readonly heartbeatMs: number;
  positions(): DatabasePosition[];
  /** The other connections of a node id. */
  others(nodeId: string): FollowerConnection[];
  accepted(follower: Follower): void;
  closed(): void;
}

/** A socket whose token was right: waits for the hello, checks it, then hands every message to a Follower. */
export class FollowerConnection {
  follower: Follower | undefined;
  private readonly helloTimer: NodeJS.Timeout;
  private readonly silence: SilenceWatch;
  private greeted = false;

  constructor(
    private readonly ws: WebSocket,
    private readonly socket: Socket,
    private readonly options: FollowerConnectionOptions,
  ) {
    const { limits } = options.context;
    this.silence = new SilenceWatch(socket, options.heartbeatMs, limits.silenceMs);
    this.helloTimer = setTimeout(() => this.refuse('HELLO_TIMEOUT', 'no hello came'), limits.helloMs);
    ws.on('message', (data, isBinary) => this.onMessage(data, isBinary));
    ws.on('ping', () => this.follower?.lives());
    ws.on('error', (error) => this.options.context.log.debug({ err: error }, 'replica connection'));
    ws.on('close', () => this.onClose());
  }

  get address(): string {
    const { remoteAddress = '', remotePort = 0 } = this.socket;
    return remoteAddress.includes(':') ? `[${remoteAddress}]:${remotePort}` : `${remoteAddress}:${remotePort}`;
  }

  private onMessage(data: RawData, isBinary: boolean): void {
    try {
      if (!isBinary || !Buffer.isBuffer(data)) throw badMessage('not binary');
      const message = decodeMessage(data);
      if (message.type === 'refuse') this.refused(message);
      else if (this.follower === undefined)
        void this.onHello(this.firstHello(message)).catch((error) => this.fail(error));
      else if (!this.follower.receive(message))
        throw badMessage(`${message.type} is not for this side, or does not add up`);
    } catch (error) {
      this.fail(error);
    }
  }

  private fail(error: unknown): void {
    this.refuse(errorCode(error) ?? 'REPLICATION_MESSAGE', describeError(error));
  }

  private firstHello(message: Message): Hello {
    if (message.type !== 'hello') throw badMessage(`${message.type} before hello`);
    if (this.greeted) throw badMessage('a second hello');
    this.greeted = true;
    return message;
  }

  /** Up to the answer in one turn of the event loop, unless there is another connection of that node id. */
  private async onHello(message: Hello): Promise<void> {
    if (message.version !== PROTOCOL_VERSION) {
      this.refuse(
        'REPLICATION_VERSION',
        versionText('the replica', message.version).replace('this node', 'the primary'),
      );
      return;
    }
    const { nodeId, run, advertise, proxy, wantsStored, context } = this.options;
    if (message.nodeId === nodeId) {
      this.refuse('SAME_NODE', `node ${nodeId} is the primary itself, or has a copy of its data folder`);
      return;
    }
    clearTimeout(this.helloTimer);
    const others = this.options.others(message.nodeId);
    if (others.length > 0) {
      const twin = await livingOf(others);
      if (this.ws.readyState !== WebSocket.OPEN) return;
      if (twin !== undefined) {
        this.refuse('NODE_ID_TWICE', twinText(message.nodeId, twin.address));
        return;
      }
    }
    // From here to the Follower in one turn of the event loop: nothing that happens to a database falls between.
    const sentMs = context.now();
    const positions = this.options.positions();
    const reply = encodeMessage({
      type: 'hello-reply',
      nodeId,
      advertise,
      sentMs,
      positions,
      run,
      proxy,
      wantsStored,
    });
    if (reply.length > MAX_MESSAGE_BYTES || positions.length > MAX_DATABASES) {
      this.refuse(
        'TOO_MANY_DATABASES',
        `the primary has ${positions.length} databases, more than one stream can carry`,
      );
      return;
    }
    this.ws.send(reply);
    this.follower = new Follower(
      message.nodeId,
      message.name,
      this.address,
      this.ws,
      this.socket,
      context,
      message.positions,
    );
    this.options.accepted(this.follower);
    context.log.info({ replica: message.nodeId, name: message.name, address: this.address }, 'replica connected');
  }

  /** Whether the other side still answers; it is disconnected if it does not. */
  async lives(): Promise<boolean> {
    const { ws, socket } = this;
    const { bytesRead } = socket;
    let timer: NodeJS.Timeout | undefined;
    const answered = await new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(socket.bytesRead > bytesRead), this.options.context.limits.twinMs);
      ws.once('pong', () => resolve(true));
      ws.once('close', () => resolve(false));
      ws.ping();
    });
    clearTimeout(timer);
    if (!answered) this.terminate();
    return answered;
  }

  private refused({ code, text }: Extract<Message, { type: 'refuse' }>): void {
    this.options.context.log.warn({ address: this.address, code }, `replica refused this primary: ${text}`);
    this.ws.close();
  }

  /** Says why, and closes. */
  private refuse(code: string, text: string): void {
    this.options.context.log.warn({ address: this.address, code }, `replica refused: ${text}`);
    this.ws.send(encodeMessage({ type: 'refuse', code, text }));
    this.close(POLICY_VIOLATION, code);
  }

  /** Called with each heartbeat: a replica that sent nothing for too long is taken for dead. */
  checkAlive(): void {
    if (!this.silence.isSilent()) return;
    this.options.context.log.warn(
      { replica: this.follower?.nodeId, address: this.address },
      'replica is silent: disconnected',
    );
    this.terminate();
  }

  close(code: number, reason: string): void {
    this.ws.removeAllListeners('message');
    this.ws.close(code, reason);
  }

  terminate(): void {
    this.ws.terminate();
  }

  private onClose(): void {
    clearTimeout(this.helloTimer);
    this.follower?.close();
    if (this.follower !== undefined) {
      this.options.context.log.info({ replica: this.follower.nodeId, address: this.address }, 'replica left');
    }
    this.options.closed();
  }
}

async function livingOf(connections: readonly FollowerConnection[]): Promise<FollowerConnection | undefined> {
  const alive = await Promise.all(connections.map((connection) => connection.lives()));
  return connections.find((_, index) => alive[index]);
}

/** What the replica shows its operator. */
function twinText(nodeId: string, address: string): string {
  return (
    `the replica at ${address} has the node id ${nodeId} too: one data folder is a copy of the other. ` +
    'Stop this node, remove node.json in its data folder, and start it again'
  );
}
