// The broadcast loop of ws' documentation over TLS 1.3, with channels: "+channel" subscribes, "channel\npayload" publishes.
//
//   node ws.cjs ADDRESS PORT CHAIN.pem KEY.pem
const { readFileSync } = require('node:fs');
const { createServer } = require('node:https');
const { WebSocket, WebSocketServer } = require('ws');

const [address, port, chain, key] = process.argv.slice(2);
const channels = new Map();
const server = createServer({ cert: readFileSync(chain), key: readFileSync(key), minVersion: 'TLSv1.3' });
new WebSocketServer({ server, perMessageDeflate: false }).on('connection', (socket) => {
  socket.on('error', () => socket.terminate());
  socket.on('message', (message) => {
    if (message[0] === 0x2b) {
      const channel = message.toString('utf8', 1);
      if (!channels.has(channel)) channels.set(channel, new Set());
      channels.get(channel).add(socket);
      socket.on('close', () => channels.get(channel).delete(socket));
      socket.send('ok');
      return;
    }
    const end = message.indexOf(0x0a);
    const payload = message.subarray(end + 1);
    for (const client of channels.get(message.toString('utf8', 0, end)) ?? []) {
      if (client.readyState === WebSocket.OPEN) client.send(payload, { binary: false });
    }
  });
});
server.listen(Number(port), address, 4096);
process.on('SIGTERM', () => process.exit(0));
