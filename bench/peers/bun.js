// Bun's own publish and subscribe (uWebSockets' topics) over TLS 1.3: "+channel" subscribes, "channel\npayload" publishes.
//
//   bun run bun.js ADDRESS PORT CHAIN.pem KEY.pem
const [hostname, port, chain, key] = process.argv.slice(2);
const server = Bun.serve({
  hostname,
  port: Number(port),
  tls: { cert: Bun.file(chain), key: Bun.file(key) },
  fetch: (request, server) => (server.upgrade(request) ? undefined : new Response('a WebSocket is expected')),
  websocket: {
    perMessageDeflate: false,
    idleTimeout: 0,
    sendPings: false,
    message(socket, message) {
      if (message[0] === '+') {
        if (message.length > 1) socket.subscribe(message.slice(1));
        socket.send('ok');
        return;
      }
      const end = message.indexOf('\n');
      server.publish(message.slice(0, end), message.slice(end + 1));
    },
  },
});
process.on('SIGTERM', () => process.exit(0));
