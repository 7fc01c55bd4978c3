// The official Centrifuge client for JavaScript with tokens: it gets them from an endpoint whenever the SDK asks, and
// tells what it sees as JSON lines.
//
//   node tokens.mjs --url wss://… --ca root.pem --tokens http://… [--token FIRST]
//
//   connected     the first time
//   subscribed    to "news"
//   denied        the node refused a subscription to "secret" (code)
//   lost          the connection (code)
//   end           after standard input was closed: how many tokens it got, how often it lost the connection, its state
//   error         the last line of a run that failed, which exits 1
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Centrifuge } from 'centrifuge';
import WebSocket from 'ws';

const say = (event) => console.log(JSON.stringify(event));
const fail = (error) => {
  say({ event: 'error', message: String(error?.message ?? error) });
  process.exit(1);
};
process.on('uncaughtException', fail);
process.on('unhandledRejection', fail);

const { values } = parseArgs({
  options: {
    url: { type: 'string' },
    ca: { type: 'string' },
    tokens: { type: 'string' },
    token: { type: 'string', default: '' },
  },
});
const ca = readFileSync(values.ca);
class VerifiedSocket extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols, { ca });
  }
}

let tokens = 0;
let losses = 0;
const client = new Centrifuge(values.url, {
  websocket: VerifiedSocket,
  token: values.token,
  getToken: async () => {
    tokens += 1;
    return (await fetch(values.tokens)).text();
  },
});
let connected = false;
client.on('connected', () => {
  if (!connected) say({ event: 'connected', tokens });
  connected = true;
});
const lost = ({ code, reason }) => {
  losses += 1;
  say({ event: 'lost', code, reason });
};
client.on('connecting', (context) => { if (connected) lost(context); });
client.on('disconnected', lost);

const news = client.newSubscription('news');
news.on('subscribed', () => say({ event: 'subscribed' }));
news.subscribe();
const secret = client.newSubscription('secret');
secret.on('unsubscribed', ({ code }) => say({ event: 'denied', code }));
secret.subscribe();
client.connect();

process.stdin.resume();
await new Promise((resolve) => process.stdin.once('end', resolve));
say({ event: 'end', tokens, losses, state: client.state, news: news.state });
process.exit(0);
