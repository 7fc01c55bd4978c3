"""Drives the official Centrifuge client for Python against a node, and tells what it sees as JSON lines.

The arguments, the events and the exit codes are those of ../js/session.mjs.
"""

import argparse
import asyncio
import json
import os
import ssl
import sys

from centrifuge import Client, ClientEventHandler, ClientState, SubscriptionEventHandler, SubscriptionState


def say(**event):
    print(json.dumps(event, separators=(",", ":")), flush=True)


def fail(message):
    say(event="error", message=str(message))
    os._exit(1)  # at once, also from a handler, with nothing left to wait for


class State:
    def __init__(self, sessions, expect):
        self.phase = "opening"
        self.counts = [0] * sessions
        self.last = [0] * sessions
        self.expect = expect
        self.gaps = 0
        self.disconnects = 0
        self.complete = asyncio.Event()


class Connection(ClientEventHandler):
    def __init__(self, state, session):
        self.state, self.session, self.connected = state, session, False

    async def on_connected(self, ctx):
        self.connected = True

    async def on_error(self, ctx):
        # Once all are open an error is a step of a reconnect: "disconnected" tells of the loss.
        if self.state.phase == "opening":
            fail(f"session {self.session}: {ctx.error}")

    async def on_connecting(self, ctx):
        if self.connected:
            self.lost(ctx, final=False)

    async def on_disconnected(self, ctx):
        if self.state.phase == "over":
            return
        self.lost(ctx, final=True)
        if self.state.phase != "holding":
            fail(f"session {self.session} was disconnected for good: {ctx.code} {ctx.reason}")

    def lost(self, ctx, final):
        self.state.disconnects += 1
        say(event="disconnected", session=self.session, code=ctx.code, reason=ctx.reason, final=final)


class Channel(SubscriptionEventHandler):
    def __init__(self, state, session):
        self.state, self.session = state, session

    async def on_error(self, ctx):
        if self.state.phase == "opening":
            fail(f"session {self.session}: {ctx.error}")

    async def on_unsubscribed(self, ctx):
        if self.state.phase == "over":
            return
        say(event="unsubscribed", session=self.session, code=ctx.code, reason=ctx.reason)
        if self.state.phase != "holding":
            fail(f"session {self.session} was unsubscribed for good: {ctx.code} {ctx.reason}")

    async def on_publication(self, ctx):
        state, number = self.state, ctx.pub.data["n"]
        if number != state.last[self.session] + 1:
            state.gaps += 1
        state.last[self.session] = number
        state.counts[self.session] += 1
        if all(last >= state.expect for last in state.last):
            state.complete.set()


async def open_sessions(options, state):
    context = ssl.create_default_context(cafile=options.ca)
    clients = []
    for session in range(options.sessions):
        # proxy=None: the node is on this machine, whatever HTTPS_PROXY says.
        client = Client(options.url, events=Connection(state, session), ssl_context=context, proxy=None)
        subscription = client.new_subscription(options.channel, events=Channel(state, session))
        await client.connect()
        await subscription.subscribe()
        await subscription.ready(timeout=options.deadline)
        clients.append((client, subscription))
    return clients


async def run(options):
    state = State(options.sessions, options.expect)
    loop = asyncio.get_running_loop()
    guard = loop.call_later(options.deadline, fail, f"not done within {options.deadline:g} s")
    clients = await open_sessions(options, state)
    state.phase = "publishing"
    say(event="ready", sessions=options.sessions)
    for number in range(1, options.publish + 1):
        await clients[0][1].publish({"n": number})
    if options.expect > 0:
        await state.complete.wait()
    guard.cancel()
    state.phase = "holding"
    say(
        event="received",
        sessions=options.sessions,
        publications=min(state.counts),
        gaps=state.gaps,
        disconnects=state.disconnects,
    )
    if options.hold:
        await asyncio.to_thread(sys.stdin.read)
    still_open = sum(
        client.state == ClientState.CONNECTED and subscription.state == SubscriptionState.SUBSCRIBED
        for client, subscription in clients
    )
    say(event="end", disconnects=state.disconnects, sessions_open=still_open, gaps=state.gaps)
    if state.gaps > 0:
        fail(f"{state.gaps} publications were missing, twice there or out of order")
    state.phase = "over"
    for client, _ in clients:
        await client.disconnect()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--ca", required=True)
    parser.add_argument("--channel", default="news")
    parser.add_argument("--publish", type=int, default=0)
    parser.add_argument("--expect", type=int, default=0)
    parser.add_argument("--sessions", type=int, default=1)
    parser.add_argument("--deadline", type=float, default=60)
    parser.add_argument("--hold", action="store_true")
    try:
        asyncio.run(run(parser.parse_args()))
    except Exception as error:  # whatever it is, the test must be told
        fail(f"{type(error).__name__}: {error}")


main()
