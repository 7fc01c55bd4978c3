// Drives the official Centrifuge client for JavaScript against a node, and tells what it sees as JSON lines.
//
//   node session.mjs --url wss://… --ca root.pem --channel news --publish 50 --expect 50 --sessions 5 [--hold]
//
// The first session publishes {"n":1}, {"n":2} …; every session must see each number once and in order: anything
// else is a gap. Events, in this order:
//
//   ready         all sessions are subscribed
//   received      each has seen number --expect
//   disconnected  a connection was lost ("final": the client will not come back); may come any time after "ready"
//   unsubscribed  the node ended a subscription for good
//   end           after standard input was closed (--hold) or at once
//   error         the last line of a run that failed, which exits 1
//
// Until "received" there is a deadline, and whatever cannot be recovered from fails at once. With --hold losses are
// told and counted, and it is for the test to judge them.
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
    channel: { type: 'string', default: 'news' },
    publish: { type: 'string', default: '0' },
    expect: { type: 'string', default: '0' },
    sessions: { type: 'string', default: '1' },
    deadline: { type: 'string', default: '60' },
    hold: { type: 'boolean', default: false },
  },
});
if (!values.url || !values.ca) fail('--url and --ca are needed');
const [publish, expect, sessions, deadline] =
  ['publish', 'expect', 'sessions', 'deadline'].map((name) => Number(values[name]));
const guard = setTimeout(() => fail(`not done within ${deadline} s`), deadline * 1000);

const ca = readFileSync(values.ca);
// The client says only "transport closed": what TLS or HTTP said is known to the socket alone.
let cause;
class VerifiedSocket extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols, { ca });
    this.on('error', (error) => { cause = error.message; });
  }
}

let phase = 'opening';
let disconnects = 0;
let gaps = 0;
const counts = Array(sessions).fill(0);
const last = Array(sessions).fill(0);
const clients = [];
const subscribed = [];
let allReceived;
const complete = new Promise((resolve) => { allReceived = resolve; });

for (let session = 0; session < sessions; session += 1) {
  const client = new Centrifuge(values.url, { websocket: VerifiedSocket });
  const subscription = client.newSubscription(values.channel);

  // Once all are open an error is a step of a reconnect: "disconnected" tells of the loss.
  const failed = ({ error }) => {
    if (phase === 'opening') fail(`session ${session}: ${cause ?? error?.message}`);
  };
  client.on('error', failed);
  subscription.on('error', failed);

  const lost = ({ code, reason }, final) => {
    disconnects += 1;
    say({ event: 'disconnected', session, code, reason, final });
  };
  let connected = false;
  client.on('connected', () => { connected = true; });
  client.on('connecting', (context) => { if (connected) lost(context, false); });
  client.on('disconnected', (context) => {
    lost(context, true);
    if (phase !== 'holding') fail(`session ${session} was disconnected for good: ${context.code} ${context.reason}`);
  });
  subscription.on('unsubscribed', ({ code, reason }) => {
    say({ event: 'unsubscribed', session, code, reason });
    if (phase !== 'holding') fail(`session ${session} was unsubscribed for good: ${code} ${reason}`);
  });

  subscription.on('publication', ({ data }) => {
    if (data.n !== last[session] + 1) gaps += 1;
    last[session] = data.n;
    counts[session] += 1;
    if (last.every((n) => n >= expect)) allReceived();
  });
  subscribed.push(new Promise((resolve) => subscription.once('subscribed', resolve)));
  subscription.subscribe();
  client.connect();
  clients.push({ client, subscription });
}

await Promise.all(subscribed);
phase = 'publishing';
say({ event: 'ready', sessions });
for (let n = 1; n <= publish; n += 1) await clients[0].subscription.publish({ n });
if (expect > 0) await complete;
clearTimeout(guard);
phase = 'holding';
say({ event: 'received', sessions, publications: Math.min(...counts), gaps, disconnects });

if (values.hold) {
  process.stdin.resume();
  await new Promise((resolve) => process.stdin.once('end', resolve));
}
const open = clients.filter(
  ({ client, subscription }) => client.state === 'connected' && subscription.state === 'subscribed',
);
say({ event: 'end', disconnects, sessions_open: open.length, gaps });
if (gaps > 0) fail(`${gaps} publications were missing, twice there or out of order`);
process.exit(0);
