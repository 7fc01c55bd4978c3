// The official Centrifuge client for JavaScript, driven line by line: it does what standard input says and tells what
// the application would see, as JSON lines.
//
//   node channels.mjs target/tools/js --url wss://… --ca root.pem
//
// In:  {"id":1,"do":"connect","client":"a",…}; what can be done is in `does` below. Channels are subscribed to by
//      `subscribe` (kind "stream" or "map").
// Out: {"re":1,"ok":…} or {"re":1,"error":{"code":…,"message":…}}, and {"ev":"publication","client":"a","channel":…,…}.
//      "token" asks for one: {"do":"token","client":"a","token":…} gives it.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { url: { type: 'string' }, ca: { type: 'string' } },
});
const installed = createRequire(resolve(positionals[0], 'package.json'));
const json = installed('centrifuge');
const protobuf = installed('centrifuge/build/protobuf');
const WebSocket = installed('ws');

const say = (line) => console.log(JSON.stringify(line));
const fail = (error) => {
  say({ ev: 'broken', message: String(error?.stack ?? error) });
  process.exit(1);
};
process.on('uncaughtException', fail);
process.on('unhandledRejection', fail);

const ca = readFileSync(values.ca);
class VerifiedSocket extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols, { ca });
  }
}

// With Protobuf payloads are bytes; here they are JSON in any case.
const encoders = {
  json: { in: (data) => data, out: (data) => data ?? null },
  protobuf: {
    in: (data) => new TextEncoder().encode(JSON.stringify(data)),
    out: (data) => (data?.length ? JSON.parse(new TextDecoder().decode(data)) : null),
  },
};

const clients = new Map();
const named = ({ client }) => clients.get(client) ?? fail(`no client ${client}`);
const channel = (command) => named(command).subscriptions.get(command.channel) ?? fail(`not subscribed: ${command.channel}`);
const publications = (list, { out }) =>
  list.map(({ data, offset, info }) => ({ data: out(data), offset, publisher: info?.client ?? null }));

const does = {
  async connect({ client: name, framing = 'json', url = values.url, token = '', asks = false }) {
    const code = encoders[framing];
    const { Centrifuge } = framing === 'json' ? json : protobuf;
    const options = { websocket: VerifiedSocket, token, minReconnectDelay: 50, maxReconnectDelay: 400 };
    const entry = { code, subscriptions: new Map(), token: null };
    if (asks) {
      options.getToken = () => {
        say({ ev: 'token', client: name });
        return new Promise((give) => { entry.token = give; });
      };
    }
    const client = new Centrifuge(url, options);
    entry.client = client;
    clients.set(name, entry);
    client.on('connecting', ({ code, reason }) => say({ ev: 'connecting', client: name, code, reason }));
    client.on('connected', ({ client: id }) => say({ ev: 'connected', client: name, id }));
    client.on('disconnected', ({ code, reason }) => say({ ev: 'disconnected', client: name, code, reason }));
    client.on('message', ({ data }) => say({ ev: 'message', client: name, data: code.out(data) }));
    // Subscriptions that the node makes.
    const ours = (ev, told) =>
      client.on(ev, (context) => say({ ev, client: name, channel: context.channel, ...told(context) }));
    ours('subscribed', ({ recovered, wasRecovering, streamPosition }) =>
      ({ recovered, wasRecovering, at: streamPosition ?? null }));
    ours('publication', ({ data, offset }) => ({ data: code.out(data), offset }));
    ours('unsubscribed', () => ({}));
    client.connect();
  },

  async token({ token, ...command }) {
    named(command).token(token);
  },

  async subscribe({ client: name, channel: called, kind = 'stream', options = {} }) {
    const { client, code, subscriptions } = clients.get(name);
    const subscription =
      kind === 'map' ? client.newMapSubscription(called, options) : client.newSubscription(called, options);
    subscriptions.set(called, subscription);
    const tell = (ev, told = () => ({})) =>
      subscription.on(ev, (context) => say({ ev, client: name, channel: called, ...told(context) }));
    tell('subscribing', ({ code, reason }) => ({ code, reason }));
    tell('subscribed', ({ recovered, wasRecovering, streamPosition }) =>
      ({ recovered, wasRecovering, at: streamPosition ?? null }));
    tell('unsubscribed', ({ code, reason }) => ({ code, reason }));
    tell('error', ({ error }) => ({ code: error?.code, message: error?.message }));
    tell('publication', ({ data, offset, info }) =>
      ({ data: code.out(data), offset, publisher: info?.client ?? null }));
    tell('join', ({ info }) => ({ who: info.client, user: info.user }));
    tell('leave', ({ info }) => ({ who: info.client, user: info.user }));
    if (kind === 'map') {
      tell('sync', ({ entries }) =>
        ({ entries: Object.fromEntries(entries.map(({ key, data }) => [key, code.out(data)])) }));
      tell('update', ({ key, data, removed, offset }) =>
        ({ key, data: removed ? null : code.out(data), removed: removed ?? false, offset }));
    }
    subscription.subscribe();
  },

  async unsubscribe(command) {
    channel(command).unsubscribe();
  },
  async publish({ data, ...command }) {
    await channel(command).publish(named(command).code.in(data));
  },
  async set({ key, data, ...command }) {
    await channel(command).publish(key, named(command).code.in(data));
  },
  async remove({ key, ...command }) {
    await channel(command).remove(key);
  },
  async history({ options, ...command }) {
    const { publications: list, offset, epoch } = await channel(command).history(options);
    return { publications: publications(list, named(command).code), offset, epoch };
  },
  async presence(command) {
    const { clients: present } = await channel(command).presence();
    return Object.fromEntries(Object.entries(present).map(([id, { user }]) => [id, user]));
  },
  async presenceStats(command) {
    return channel(command).presenceStats();
  },
  async rpc({ method, data, ...command }) {
    const { client, code } = named(command);
    return code.out((await client.rpc(method, code.in(data))).data);
  },
  async deltas(command) {
    return channel(command).deltaStats();
  },
  async disconnect(command) {
    named(command).client.disconnect();
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, do: what, ...command } = JSON.parse(line);
  // Not awaited: one that waits must not hold up the next.
  (does[what] ?? fail)(command).then(
    (ok) => say({ re: id, ok: ok ?? null }),
    (error) => say({ re: id, error: { code: error?.code ?? 0, message: String(error?.message ?? error) } }),
  );
}
process.exit(0);
