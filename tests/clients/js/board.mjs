// Opens examples/board twice in a headless Chromium, works on it with the mouse, and tells what is there to see.
//
//   node board.mjs --page http://127.0.0.9:7001/?node=wss://… --ca root.pem --shot board.png
//
// Events, as JSON lines:
//
//   moved    a note made and written in one page was dragged there; {here, there}: what both pages show
//   drawn    the picture of one page, which is left in --shot: {colours, background, note, cursor}, each of the last two
//            with what the style says and what the pixels are
//   removed  after the note was removed in the other page: {here, there}
//   error    the last line of a run that failed, which exits 1
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { chromium } from './chromium.mjs';

const { values } = parseArgs({
  options: {
    page: { type: 'string' },
    ca: { type: 'string' },
    shot: { type: 'string' },
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
for (const name of ['page', 'ca', 'shot']) if (!values[name]) fail(`--${name} is needed`);
setTimeout(() => fail(`not done within ${values.deadline} s`), Number(values.deadline) * 1000).unref();

const open = await chromium(values.ca, { died: fail });
const visit = async (name) => {
  const page = await open(`${values.page}&name=${name}`);
  await page.send('Emulation.setDeviceMetricsOverride', {
    width: 900, height: 600, deviceScaleFactor: 1, mobile: false,
  });
  const mouse = (type, x, y, more = {}) => page.send('Input.dispatchMouseEvent', { type, x, y, ...more });
  return { ...page, mouse };
};
const look = () => {
  const place = ({ style: { left, top } }) => [parseFloat(left), parseFloat(top)];
  const all = (selector) => [...document.querySelectorAll(selector)].filter((element) => !element.hidden);
  return {
    connected: document.querySelector('#status').className === 'on',
    notes: all('.note').map((note) => ({ at: place(note), text: note.querySelector('p').textContent })),
    cursors: all('.cursor').map((cursor) => ({ at: place(cursor), name: cursor.textContent })),
  };
};
const until = async ({ run }, what, holds) => {
  for (;;) {
    const seen = await run(look);
    if (holds(seen)) return seen;
    waitingFor = `${what}; there is ${JSON.stringify(seen)}`;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
};
let waitingFor = '';
setTimeout(() => fail(`still waiting for ${waitingFor}`), Number(values.deadline) * 900).unref();

const [ann, bob] = [await visit('ann'), await visit('bob')];
await until(ann, 'ann to connect', ({ connected }) => connected);
await until(bob, 'bob to connect', ({ connected }) => connected);

// A double click makes a note around it; it is written on, and dragged by its upper edge.
for (const clickCount of [1, 2]) {
  await ann.mouse('mousePressed', 300, 200, { button: 'left', clickCount });
  await ann.mouse('mouseReleased', 300, 200, { button: 'left', clickCount });
}
const { notes: [{ at: [left, top] }] } = await until(ann, 'a note', ({ notes }) => notes.length === 1);
await ann.run(() => {
  const text = document.querySelector('.note p');
  text.focus();
  getSelection().selectAllChildren(text);
});
await ann.send('Input.insertText', { text: 'Buy milk' });
const [x, y] = [left + 60, top + 12];
await ann.mouse('mouseMoved', x, y);
await ann.mouse('mousePressed', x, y, { button: 'left', clickCount: 1 });
for (let step = 1; step <= 10; step += 1) {
  await ann.mouse('mouseMoved', x + step * 30, y + step * 15, { button: 'left', buttons: 1 });
}
await ann.mouse('mouseReleased', x + 300, y + 150, { button: 'left', clickCount: 1 });
await bob.mouse('mouseMoved', 150, 420);

const isMoved = ({ notes, cursors }) => notes.length === 1 && notes[0].text === 'Buy milk'
  && notes[0].at[0] === left + 300 && notes[0].at[1] === top + 150 && cursors.length === 1;
const here = await until(ann, 'the note and a cursor at ann', isMoved);
const there = await until(bob, 'the note and a cursor at bob', isMoved);
say({ event: 'moved', from: [left, top], here, there });

// What is on the picture is looked at by the browser itself, which can read PNG.
await bob.send('Page.bringToFront');
await bob.run(() => Promise.all(document.getAnimations().map(({ finished }) => finished)));
const { data } = await bob.send('Page.captureScreenshot', { format: 'png' });
writeFileSync(values.shot, Buffer.from(data, 'base64'));
const drawn = await bob.run(async (picture) => {
  const image = new Image();
  image.src = `data:image/png;base64,${picture}`;
  await image.decode();
  const context = Object.assign(document.createElement('canvas'), { width: image.width, height: image.height })
    .getContext('2d');
  context.drawImage(image, 0, 0);
  const { data: pixels } = context.getImageData(0, 0, image.width, image.height);
  const at = (x, y) => `rgb(${[...pixels.slice((y * image.width + x) * 4)].slice(0, 3).join(', ')})`;
  const colours = new Set();
  for (let i = 0; i < pixels.length; i += 4) colours.add(pixels[i] << 16 | pixels[i + 1] << 8 | pixels[i + 2]);
  const of = (selector, property, x, y) => {
    const element = [...document.querySelectorAll(selector)].find((each) => !each.closest('[hidden]'));
    const { left, top } = element.getBoundingClientRect();
    return { style: getComputedStyle(element)[property], pixel: at(Math.round(left + x), Math.round(top + y)) };
  };
  return {
    size: [image.width, image.height],
    colours: colours.size,
    background: at(5, 5),
    note: of('.note', 'backgroundColor', 12, 12),
    cursor: of('.cursor path', 'fill', 6, 7),
  };
}, data);
say({ event: 'drawn', ...drawn });

await bob.run(() => document.querySelector('.note button').click());
const isBare = ({ notes }) => notes.length === 0;
say({ event: 'removed', here: await until(ann, 'no note at ann', isBare), there: await until(bob, 'no note at bob', isBare) });
process.exit(0);
