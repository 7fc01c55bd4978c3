// Drives the official Centrifuge client for JavaScript against a node, and tells what it sees as JSON lines.
//
//   node session.mjs --url wss://… --ca root.pem --channel news --publish 50 --expect 50 --sessions 5 [--hold]
//
// "ready" when all sessions are subscribed, "received" when each has got what is expected, "disconnected" for
// each disconnect, and "end" after standard input was closed (with --hold) or at once (without).
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Centrifuge } from 'centrifuge';
import WebSocket from 'ws';

const { values } = parseArgs({
  options: {
    url: { type: 'string' },
    ca: { type: 'string' },
    channel: { type: 'string', default: 'news' },
    publish: { type: 'string', default: '0' },
    expect: { type: 'string', default: '0' },
    sessions: { type: 'string', default: '1' },
    deadline: { type: 'string', default: '60' },
    hold: { type: 'boolean', default: false },
  },
});
const [publish, expect, sessions, deadline] =
  ['publish', 'expect', 'sessions', 'deadline'].map((name) => Number(values[name]));

const say = (event) => console.log(JSON.stringify(event));
const fail = (message) => {
  say({ event: 'error', message: String(message) });
  process.exit(1);
};
const guard = setTimeout(() => fail(`not done within ${deadline} s`), deadline * 1000);

const ca = readFileSync(values.ca);
class VerifiedSocket extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols, { ca });
  }
}

let disconnects = 0;
let gaps = 0;
const received = Array(sessions).fill(0);
const clients = [];
const subscribed = [];
let allReceived;
const complete = new Promise((resolve) => { allReceived = resolve; });

for (let session = 0; session < sessions; session += 1) {
  const client = new Centrifuge(values.url, { websocket: VerifiedSocket });
  client.on('error', (context) => fail(context.error?.message ?? 'client error'));
  const lost = (context) => {
    disconnects += 1;
    say({ event: 'disconnected', session, code: context.code, reason: context.reason });
  };
  let connected = false;
  client.on('connected', () => { connected = true; });
  client.on('connecting', (context) => { if (connected) lost(context); });
  const subscription = client.newSubscription(values.channel);
  subscription.on('error', (context) => fail(context.error?.message ?? 'subscription error'));
  subscription.on('publication', (context) => {
    if (context.data.n !== received[session] + 1) gaps += 1;
    received[session] = context.data.n;
    if (received.every((count) => count >= expect)) allReceived();
  });
  subscribed.push(new Promise((resolve) => subscription.once('subscribed', resolve)));
  subscription.subscribe();
  client.connect();
  clients.push({ client, subscription });
}

await Promise.all(subscribed);
say({ event: 'ready', sessions });
for (let n = 1; n <= publish; n += 1) await clients[0].subscription.publish({ n });
if (expect > 0) await complete;
say({ event: 'received', sessions, publications: Math.min(...received), gaps, disconnects });
clearTimeout(guard);

if (values.hold) {
  process.stdin.resume();
  await new Promise((resolve) => process.stdin.once('end', resolve));
}
const open = clients.filter(({ client }) => client.state === 'connected').length;
say({ event: 'end', disconnects, sessions_open: open });
process.exit(0);
