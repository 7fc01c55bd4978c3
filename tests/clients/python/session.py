"""Drives the official Centrifuge client for Python against a node, and tells what it sees as JSON lines.

The arguments and the events are those of ../js/session.mjs.
"""

import argparse
import asyncio
import json
import ssl
import sys

from centrifuge import Client, ClientEventHandler, ClientState, SubscriptionEventHandler


def say(**event):
    print(json.dumps(event), flush=True)


class State:
    def __init__(self, sessions, expect):
        self.received = [0] * sessions
        self.expect = expect
        self.gaps = 0
        self.disconnects = 0
        self.complete = asyncio.Event()


class Connection(ClientEventHandler):
    def __init__(self, state, session):
        self.state, self.session, self.connected = state, session, False

    async def on_connected(self, ctx):
        self.connected = True

    async def on_connecting(self, ctx):
        if self.connected:
            self.state.disconnects += 1
            say(event="disconnected", session=self.session, code=ctx.code, reason=ctx.reason)


class Channel(SubscriptionEventHandler):
    def __init__(self, state, session):
        self.state, self.session = state, session

    async def on_publication(self, ctx):
        state, number = self.state, ctx.pub.data["n"]
        if number != state.received[self.session] + 1:
            state.gaps += 1
        state.received[self.session] = number
        if all(count >= state.expect for count in state.received):
            state.complete.set()


async def open_sessions(options, state):
    context = ssl.create_default_context(cafile=options.ca)
    clients = []
    for session in range(options.sessions):
        client = Client(
            options.url, events=Connection(state, session), ssl_context=context, max_server_ping_delay=30.0
        )
        subscription = client.new_subscription(options.channel, events=Channel(state, session))
        await client.connect()
        await subscription.subscribe()
        await subscription.ready(timeout=options.deadline)
        clients.append((client, subscription))
    return clients


async def run(options):
    state = State(options.sessions, options.expect)
    async with asyncio.timeout(options.deadline):
        clients = await open_sessions(options, state)
        say(event="ready", sessions=options.sessions)
        for number in range(1, options.publish + 1):
            await clients[0][1].publish({"n": number})
        if options.expect > 0:
            await state.complete.wait()
    say(
        event="received",
        sessions=options.sessions,
        publications=min(state.received),
        gaps=state.gaps,
        disconnects=state.disconnects,
    )
    if options.hold:
        await asyncio.to_thread(sys.stdin.read)
    still_open = sum(client.state == ClientState.CONNECTED for client, _ in clients)
    say(event="end", disconnects=state.disconnects, sessions_open=still_open)
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
        say(event="error", message=f"{type(error).__name__}: {error}")
        sys.exit(1)


main()
