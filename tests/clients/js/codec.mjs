// What the official Centrifuge client for JavaScript makes of frames, without a connection: its own two codecs.
//
//   node codec.mjs target/tools/js input.json output.json
//
// Input: { commands: [command], frames: { json: [base64], protobuf: [base64] }, chains: { json: …, protobuf: … } }.
// Output: { commands: { json: base64, protobuf: base64 }, frames: { json: [[reply]], … }, chains: { json: [[data]], … } }.
//
// Each chain is a list of frames with a publication each, of a subscription with deltas; told is what the application
// would get. Payloads are told as text.
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';

const [tools, input, output] = process.argv.slice(2);
const installed = createRequire(resolve(tools, 'package.json'));
const codecOf = (path) => new (installed(path).Centrifuge)('ws://127.0.0.1', { websocket: class {} })._codec;
const codecs = { json: codecOf('centrifuge'), protobuf: codecOf('centrifuge/build/protobuf') };

const PAYLOADS = ['data', 'conn_info', 'chan_info'];
const asBytes = (command) =>
  Object.fromEntries(Object.entries(command).map(([key, value]) => {
    if (PAYLOADS.includes(key)) return [key, new TextEncoder().encode(JSON.stringify(value))];
    return [key, value?.constructor === Object ? asBytes(value) : value];
  }));
const asText = (bytes) => new TextDecoder('utf-8', { fatal: true }).decode(bytes);

// Own properties are those that were on the wire, but for lists and maps that the Protobuf library always makes. (A
// message has a class, a map has none.)
const isNothing = (value) =>
  (Array.isArray(value) || value?.constructor === Object) && Object.keys(value).length === 0;
const told = (framing, value, key) => {
  if (value instanceof Uint8Array) return asText(value);
  if (PAYLOADS.includes(key)) return JSON.stringify(value);
  if (Array.isArray(value)) return value.map((item) => told(framing, item));
  if (value === null || typeof value !== 'object') return value;
  if (typeof value.toNumber === 'function') return value.toNumber();
  const names = Object.keys(value).filter((name) => framing === 'json' || !isNothing(value[name]));
  return Object.fromEntries(names.map((name) => [name, told(framing, value[name], name)]));
};

const { commands, frames, chains } = JSON.parse(readFileSync(input, 'utf8'));
const received = (framing, frame) => {
  const bytes = Buffer.from(frame, 'base64');
  return codecs[framing].decodeReplies(framing === 'json' ? asText(bytes) : bytes);
};
const result = { commands: {}, frames: {}, chains: {} };
for (const [framing, codec] of Object.entries(codecs)) {
  if (codec.name() !== framing) throw new Error(`the codec of ${framing} is ${codec.name()}`);
  const sent = codec.encodeCommands(framing === 'json' ? commands : commands.map(asBytes));
  result.commands[framing] = Buffer.from(sent).toString('base64');
  result.frames[framing] = frames[framing].map((frame) => received(framing, frame).map((reply) => told(framing, reply)));
  result.chains[framing] = chains[framing].map((chain) => {
    let base;
    return chain.map((frame) => {
      const { newData, newPrevValue } = codec.applyDeltaIfNeeded(received(framing, frame)[0].push.pub, base);
      base = newPrevValue;
      return framing === 'json' ? JSON.stringify(newData) : Buffer.from(newData).toString('base64');
    });
  });
}
writeFileSync(output, JSON.stringify(result));
