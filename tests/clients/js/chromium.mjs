// A headless Chromium that trusts one more root, driven over the Chrome DevTools Protocol as far as it is needed.
//
//   const page = await chromium(pathOfRoot, { said, died })
//   const { run, send } = await page(url)
//
// It ends with this process.
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import WebSocket from 'ws';

// `root`: the only root that is not Chromium's own. `said`: called with what pages give to `tell(json)`. `died`: called
// when the browser ends by itself.
export async function chromium(root, { said = () => {}, died }) {
  const home = mkdtempSync(join(tmpdir(), 'sealwire-browser-'));
  const trust = join(home, '.pki/nssdb');
  mkdirSync(trust, { recursive: true });
  execFileSync('certutil', ['-d', `sql:${trust}`, '-N', '--empty-password']);
  execFileSync('certutil', ['-d', `sql:${trust}`, '-A', '-t', 'C,,', '-n', 'root', '-i', root]);
  const browser = spawn('chromium', [
    '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-proxy-server',
    '--remote-debugging-port=0', `--user-data-dir=${join(home, 'profile')}`, 'about:blank',
  ], {
    env: { ...process.env, HOME: home, XDG_CONFIG_HOME: home, XDG_CACHE_HOME: home },
    stdio: ['ignore', 'ignore', 'pipe'],
    // A process group of its own, to be ended as a whole.
    detached: true,
  });
  browser.on('exit', (code) => died(`the browser ended with ${code}`));
  process.on('exit', () => {
    // Its children too: they write into the profile for as long as they live.
    try {
      process.kill(-browser.pid, 'SIGKILL');
    } catch {
      // They are gone already.
    }
    try {
      rmSync(home, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
    } catch (error) {
      console.error(`left behind: ${error.message}`);
    }
  });

  const endpoint = await new Promise((resolve) => {
    createInterface({ input: browser.stderr }).on('line', (line) => {
      const found = line.match(/DevTools listening on (ws:\S+)/);
      if (found) resolve(found[1]);
    });
  });
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
      said(JSON.parse(message.params.payload));
    } else if (message.method === 'Page.loadEventFired') {
      loaded.get(message.sessionId)?.();
    }
  });
  const call = (method, params = {}, sessionId = undefined) => new Promise((resolve, reject) => {
    waiting.set(++last, { resolve, reject });
    devtools.send(JSON.stringify({ id: last, method, params, sessionId }));
  });

  // `run(script, argument)` calls a function within the page; `send(method, params)` is DevTools' own.
  return async (url) => {
    const { targetId } = await call('Target.createTarget', { url: 'about:blank', newWindow: true });
    const { sessionId } = await call('Target.attachToTarget', { targetId, flatten: true });
    const send = (method, params = {}) => call(method, params, sessionId);
    await send('Page.enable');
    await send('Runtime.enable');
    await send('Runtime.addBinding', { name: 'tell' });
    const done = new Promise((resolve) => loaded.set(sessionId, resolve));
    await send('Page.navigate', { url });
    await done;
    const run = async (script, argument = null) => {
      const expression = `(${script})(${JSON.stringify(argument)})`;
      const answer = await send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
      if (answer.exceptionDetails) throw new Error(answer.exceptionDetails.exception?.description);
      return answer.result.value;
    };
    return { run, send };
  };
}
