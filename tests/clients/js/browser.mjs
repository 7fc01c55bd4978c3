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
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import WebSocket from 'ws';

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
const home = mkdtempSync(join(tmpdir(), 'sealwire-browser-'));
let browser;
const say = (event) => console.log(JSON.stringify(event));
const finish = (code) => {
  // Its children too: they write into the profile for as long as they live.
  try {
    if (browser?.pid) process.kill(-browser.pid, 'SIGKILL');
  } catch {
    // They are gone already.
  }
  try {
    rmSync(home, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  } catch (error) {
    console.error(`left behind: ${error.message}`);
  }
  process.exit(code);
};
const fail = (error) => {
  say({ event: 'error', message: String(error?.message ?? error) });
  finish(1);
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

const trust = join(home, '.pki/nssdb');
mkdirSync(trust, { recursive: true });
execFileSync('certutil', ['-d', `sql:${trust}`, '-N', '--empty-password']);
execFileSync('certutil', ['-d', `sql:${trust}`, '-A', '-t', 'C,,', '-n', 'root', '-i', values.ca]);
browser = spawn('chromium', [
  '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-proxy-server',
  '--remote-debugging-port=0', `--user-data-dir=${join(home, 'profile')}`, 'about:blank',
], {
  env: { ...process.env, HOME: home, XDG_CONFIG_HOME: home, XDG_CACHE_HOME: home },
  stdio: ['ignore', 'ignore', 'pipe'],
  // A process group of its own, to be ended as a whole.
  detached: true,
});
browser.on('exit', (code) => fail(`the browser ended with ${code}`));
const endpoint = await new Promise((resolve) => {
  createInterface({ input: browser.stderr }).on('line', (line) => {
    const found = line.match(/DevTools listening on (ws:\S+)/);
    if (found) resolve(found[1]);
  });
});

// The Chrome DevTools Protocol, as far as it is needed.
const devtools = new WebSocket(endpoint);
await new Promise((resolve) => devtools.once('open', resolve));
let last = 0;
const waiting = new Map();
const loaded = new Map();
devtools.on('message', (data) => {
  const message = JSON.parse(data);
  if (message.id) {
    const { resolve, reject } = waiting.get(message.id);
    waiting.delete(message.id);
    if (message.error) reject(new Error(message.error.message));
    else resolve(message.result);
  } else if (message.method === 'Runtime.bindingCalled') {
    say(JSON.parse(message.params.payload));
  } else if (message.method === 'Page.loadEventFired') {
    loaded.get(message.sessionId)?.();
  }
});
const call = (method, params = {}, sessionId = undefined) => new Promise((resolve, reject) => {
  waiting.set(++last, { resolve, reject });
  devtools.send(JSON.stringify({ id: last, method, params, sessionId }));
});
const page = async (url) => {
  const { targetId } = await call('Target.createTarget', { url: 'about:blank' });
  const { sessionId } = await call('Target.attachToTarget', { targetId, flatten: true });
  await call('Page.enable', {}, sessionId);
  await call('Runtime.enable', {}, sessionId);
  await call('Runtime.addBinding', { name: 'tell' }, sessionId);
  const done = new Promise((resolve) => loaded.set(sessionId, resolve));
  await call('Page.navigate', { url }, sessionId);
  await done;
  return async (script) => {
    const expression = `(${script})(${JSON.stringify(values)})`;
    const answer = await call('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true }, sessionId);
    if (answer.exceptionDetails) throw new Error(answer.exceptionDetails.exception?.description);
    return answer.result.value;
  };
};

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

const allowed = await page(`http://${values.bind}:${port}/`);
say({ event: 'allowed', ...await allowed(open), check: await allowed(check) });
const foreign = await page(`http://${values.bind}:${port + 1}/`);
say({ event: 'foreign', ...await foreign(raw), check: await foreign(check) });
process.stdin.resume();
process.stdin.on('end', () => {
  say({ event: 'end' });
  browser.removeAllListeners('exit');
  finish(0);
});
