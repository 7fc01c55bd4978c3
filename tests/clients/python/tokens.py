"""The official Centrifuge client for Python with tokens.

The arguments, the events and the exit codes are those of ../js/tokens.mjs.
"""

import argparse
import asyncio
import json
import os
import ssl
import sys
import urllib.request

from centrifuge import Client, ClientEventHandler, SubscriptionEventHandler


def say(**event):
    print(json.dumps(event, separators=(",", ":")), flush=True)


class Seen(ClientEventHandler):
    def __init__(self):
        self.tokens = self.losses = 0
        self.connected = False

    async def on_connected(self, ctx):
        if not self.connected:
            say(event="connected", tokens=self.tokens)
        self.connected = True

    async def on_connecting(self, ctx):
        if self.connected:
            self.lost(ctx)

    async def on_disconnected(self, ctx):
        self.lost(ctx)

    def lost(self, ctx):
        self.losses += 1
        say(event="lost", code=ctx.code, reason=ctx.reason)


class News(SubscriptionEventHandler):
    async def on_subscribed(self, ctx):
        say(event="subscribed")


class Secret(SubscriptionEventHandler):
    async def on_unsubscribed(self, ctx):
        say(event="denied", code=ctx.code)


async def run(options):
    seen = Seen()
    # Without a proxy: the endpoint is on this machine, whatever HTTP_PROXY says.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    async def get_token():
        seen.tokens += 1
        return await asyncio.to_thread(lambda: opener.open(options.tokens, timeout=10).read().decode())

    client = Client(
        options.url,
        events=seen,
        token=options.token,
        get_token=get_token,
        ssl_context=ssl.create_default_context(cafile=options.ca),
        proxy=None,
    )
    news = client.new_subscription("news", events=News())
    secret = client.new_subscription("secret", events=Secret())
    await client.connect()
    await news.subscribe()
    await secret.subscribe()
    await asyncio.to_thread(sys.stdin.read)
    say(
        event="end",
        tokens=seen.tokens,
        losses=seen.losses,
        state=client.state.value,
        news=news.state.value,
    )
    os._exit(0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--ca", required=True)
    parser.add_argument("--tokens", required=True)
    parser.add_argument("--token", default="")
    try:
        asyncio.run(run(parser.parse_args()))
    except Exception as error:  # whatever it is, the test must be told
        say(event="error", message=f"{type(error).__name__}: {error}")
        os._exit(1)


main()
