"""The official Centrifuge client for Python, driven line by line: it does what standard input says and tells what the
application would see, as JSON lines.

    python channels.py --url wss://… --ca root.pem

What comes in and goes out is as in ../js/channels.mjs, but for maps, which release 0.7 does not have.
"""

import argparse
import asyncio
import json
import os
import ssl
import sys

from centrifuge import Client, ClientEventHandler, SubscriptionEventHandler
from centrifuge.client import DeltaType


def say(**line):
    print(json.dumps(line, separators=(",", ":")), flush=True)


def fail(message):
    say(ev="broken", message=str(message))
    os._exit(1)  # at once, also from a handler


def position(at):
    return None if at is None else {"offset": at.offset, "epoch": at.epoch}


class Code:
    """With Protobuf payloads are bytes; here they are JSON in any case."""

    def __init__(self, framing):
        self.protobuf = framing == "protobuf"

    def into(self, data):
        return json.dumps(data, separators=(",", ":")).encode() if self.protobuf else data

    def out(self, data):
        return json.loads(data) if self.protobuf and data else data


class Connection(ClientEventHandler):
    def __init__(self, name, code):
        self.name, self.code = name, code

    async def on_connecting(self, ctx):
        say(ev="connecting", client=self.name, code=ctx.code, reason=ctx.reason)

    async def on_connected(self, ctx):
        say(ev="connected", client=self.name, id=ctx.client)

    async def on_disconnected(self, ctx):
        say(ev="disconnected", client=self.name, code=ctx.code, reason=ctx.reason)

    async def on_subscribed(self, ctx):
        say(
            ev="subscribed",
            client=self.name,
            channel=ctx.channel,
            recovered=ctx.recovered,
            wasRecovering=ctx.was_recovering,
            at=position(ctx.stream_position),
        )

    async def on_publication(self, ctx):
        data = self.code.out(ctx.pub.data)
        say(ev="publication", client=self.name, channel=ctx.channel, data=data, offset=ctx.pub.offset)

    async def on_unsubscribed(self, ctx):
        say(ev="unsubscribed", client=self.name, channel=ctx.channel)


class Channel(SubscriptionEventHandler):
    def __init__(self, name, channel, code):
        self.name, self.channel, self.code = name, channel, code

    def say(self, ev, **told):
        say(ev=ev, client=self.name, channel=self.channel, **told)

    async def on_subscribing(self, ctx):
        self.say("subscribing", code=ctx.code, reason=ctx.reason)

    async def on_subscribed(self, ctx):
        at = position(ctx.stream_position)
        self.say("subscribed", recovered=ctx.recovered, wasRecovering=ctx.was_recovering, at=at)

    async def on_unsubscribed(self, ctx):
        self.say("unsubscribed", code=ctx.code, reason=ctx.reason)

    async def on_publication(self, ctx):
        publisher = ctx.pub.info.client if ctx.pub.info else None
        self.say("publication", data=self.code.out(ctx.pub.data), offset=ctx.pub.offset, publisher=publisher)

    async def on_join(self, ctx):
        self.say("join", who=ctx.info.client, user=ctx.info.user)

    async def on_leave(self, ctx):
        self.say("leave", who=ctx.info.client, user=ctx.info.user)

    async def on_error(self, ctx):
        self.say("error", code=ctx.code, message=str(ctx.error))


class Driven:
    def __init__(self, url, ca):
        self.url, self.context = url, ssl.create_default_context(cafile=ca)
        self.clients, self.codes, self.subscriptions, self.tokens = {}, {}, {}, {}

    async def connect(self, client, framing="json", url=None, token="", asks=False):
        code = self.codes[client] = Code(framing)

        async def ask():
            self.tokens[client] = asyncio.get_running_loop().create_future()
            say(ev="token", client=client)
            return await self.tokens[client]

        self.clients[client] = Client(
            url or self.url,
            events=Connection(client, code),
            token=token,
            get_token=ask if asks else None,
            use_protobuf=framing == "protobuf",
            min_reconnect_delay=0.05,
            max_reconnect_delay=0.4,
            ssl_context=self.context,
            proxy=None,  # the node is on this machine, whatever HTTPS_PROXY says
        )
        await self.clients[client].connect()

    async def token(self, client, token):
        self.tokens[client].set_result(token)

    async def subscribe(self, client, channel, kind="stream", options=None):
        options = options or {}
        subscription = self.clients[client].new_subscription(
            channel,
            events=Channel(client, channel, self.codes[client]),
            token=options.get("token", ""),
            recoverable=options.get("recoverable", False),
            positioned=options.get("positioned", False),
            join_leave=options.get("joinLeave", False),
            delta=DeltaType.FOSSIL if options.get("delta") else None,
        )
        self.subscriptions[client, channel] = subscription
        await subscription.subscribe()

    async def unsubscribe(self, client, channel):
        await self.subscriptions[client, channel].unsubscribe()

    async def publish(self, client, channel, data):
        await self.subscriptions[client, channel].publish(self.codes[client].into(data))

    async def history(self, client, channel, options):
        from centrifuge import StreamPosition

        since = options.get("since")
        page = await self.subscriptions[client, channel].history(
            limit=options.get("limit", 0),
            since=StreamPosition(**since) if since else None,
            reverse=options.get("reverse", False),
        )
        out = self.codes[client].out
        publications = [
            {"data": out(it.data), "offset": it.offset, "publisher": it.info.client if it.info else None}
            for it in page.publications
        ]
        return {"publications": publications, "offset": page.offset, "epoch": page.epoch}

    async def presence(self, client, channel):
        present = await self.subscriptions[client, channel].presence()
        return {who: info.user for who, info in present.clients.items()}

    async def presenceStats(self, client, channel):
        stats = await self.subscriptions[client, channel].presence_stats()
        return {"numClients": stats.num_clients, "numUsers": stats.num_users}

    async def rpc(self, client, method, data):
        code = self.codes[client]
        return code.out((await self.clients[client].rpc(method, code.into(data))).data)

    async def disconnect(self, client):
        await self.clients[client].disconnect()


async def one(driven, line):
    command = json.loads(line)
    number, what = command.pop("id"), command.pop("do")
    try:
        say(re=number, ok=await getattr(driven, what)(**command))
    except Exception as error:  # the test knows what is expected
        say(re=number, error={"code": getattr(error, "code", 0), "message": f"{type(error).__name__}: {error}"})


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--ca", required=True)
    options = parser.parse_args()
    driven, tasks = Driven(options.url, options.ca), set()
    while line := await asyncio.to_thread(sys.stdin.readline):
        # Not awaited: one that waits must not hold up the next.
        task = asyncio.create_task(one(driven, line))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    os._exit(0)


try:
    asyncio.run(main())
except Exception as error:  # whatever it is, the test must be told
    fail(f"{type(error).__name__}: {error}")
