// Drives the official Centrifuge client in a headless Chromium against a node, and tells what it sees as JSON lines.
//
//   node browser.mjs --url wss://… --check https://…/connect/check --ca root.pem --bind 127.0.0.9 --port 7001
//
// The browser verifies TLS: its only trust is a profile of its own that has the given root. Two pages are served on
// --bind, at --port (an origin that the node should allow) and at the port after it (one that it should not). Events:
//
//   allowed     the first page: {connected, received, check}; the session stays open
//   foreign     the second page: {code: the close code of a raw WebSocket, connected, check}
//   connecting  the first page's session was lost, with the code that the SDK tells
//   back        it has been connected again, and a publication came
//   end         after standard input was closed
//   error       the last line of a run that failed, which exits 1
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';
import { chromium } from './chromium.mjs';

const { values } = parseArgs({
  options: {
    url: { type: 'string' },
    check: { type: 'string' },
    ca: { type: 'string' },
    bind: { type: 'string' },
    port: { type: 'string' },
    deadline: { type: 'string', default: '120' },
  },
});
const say = (event) => console.log(JSON.stringify(event));
const fail = (error) => {
  say({ event: 'error', message: String(error?.message ?? error) });
  process.exit(1);
};
process.on('uncaughtException', fail);
process.on('unhandledRejection', fail);
for (const name of ['url', 'check', 'ca', 'bind', 'port']) if (!values[name]) fail(`--${name} is needed`);
setTimeout(() => fail(`not done within ${values.deadline} s`), Number(values.deadline) * 1000).unref();

// Beside the modules that tests/tools/install has put here.
const library = readFileSync(new URL('node_modules/centrifuge/dist/centrifuge.js', import.meta.url));
const port = Number(values.port);
for (const each of [port, port + 1]) {
  createServer((request, response) => {
    const isLibrary = request.url === '/centrifuge.js';
    response.setHeader('content-type', isLibrary ? 'text/javascript' : 'text/html');
    response.end(isLibrary ? library : '<!doctype html><title>test</title><script src="/centrifuge.js"></script>');
  }).listen(each, values.bind);
}

const page = await chromium(values.ca, { said: say, died: fail });

/* global Centrifuge, tell */
const check = async ({ check: url }) => {
  try {
    const answer = await fetch(url);
    return { status: answer.status, ...await answer.json() };
  } catch (error) {
    return { error: error.name };
  }
};
const open = async ({ url }) => {
  const client = new Centrifuge(url, { minReconnectDelay: 100, maxReconnectDelay: 500 });
  const subscription = client.newSubscription('browser');
  let received = () => {};
  subscription.on('publication', ({ data }) => received(data));
  const round = async (data) => {
    const came = new Promise((resolve) => { received = resolve; });
    await subscription.ready();
    await subscription.publish(data);
    return came;
  };
  let lost = false;
  client.on('connecting', ({ code, reason }) => {
    if (lost || code === 0) return;
    lost = true;
    tell(JSON.stringify({ event: 'connecting', code, reason }));
    subscription.ready().then(() => round('again')).then((data) => {
      tell(JSON.stringify({ event: 'back', received: data }));
    });
  });
  subscription.subscribe();
  client.connect();
  await client.ready();
  return { connected: true, received: await round('first') };
};
const raw = ({ url }) => new Promise((resolve) => {
  let connected = false;
  const socket = new WebSocket(url);
  socket.onopen = () => { connected = true; };
  socket.onclose = ({ code }) => resolve({ code, connected });
});

const { run: allowed } = await page(`http://${values.bind}:${port}/`);
say({ event: 'allowed', ...await allowed(open, values), check: await allowed(check, values) });
const { run: foreign } = await page(`http://${values.bind}:${port + 1}/`);
say({ event: 'foreign', ...await foreign(raw, values), check: await foreign(check, values) });
process.stdin.resume();
process.stdin.on('end', () => {
  say({ event: 'end' });
  process.exit(0);
});
