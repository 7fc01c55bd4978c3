"""Asks a node for everything that the official library for applications (cent) knows of Centrifugo's server API, and
tells as JSON lines what it was told.

    python server_api.py http://127.0.0.1:9090/api KEY CLIENT

CLIENT is a session that is subscribed to "news"; it is closed after a line of input. The library reads answers into types, and refuses what does not fit.
"""

import json
import sys

from cent import (
    BatchRequest,
    BroadcastRequest,
    CentApiResponseError,
    CentUnauthorizedError,
    ChannelsRequest,
    Client,
    Disconnect,
    DisconnectRequest,
    HistoryRequest,
    InfoRequest,
    PresenceRequest,
    PresenceStatsRequest,
    PublishRequest,
    StreamPosition,
    SubscribeRequest,
    UnsubscribeRequest,
)


def say(what, value):
    print(json.dumps([what, value]), flush=True)


def main():
    url, key, session = sys.argv[1:]
    client = Client(url, key)
    first = client.publish(PublishRequest(channel="news", data={"n": 1}, tags={"a": "b"}))
    again = PublishRequest(channel="news", data={"n": 2}, idempotency_key="k")
    say("publish", [first.offset, client.publish(again).offset, client.publish(again).offset])
    sent = client.broadcast(BroadcastRequest(channels=["news", "nowhere:1"], data={"n": 3}))
    say("broadcast", [one.error.code if one.error else one.result.offset for one in sent.responses])
    since = StreamPosition(offset=first.offset, epoch=first.epoch)
    history = client.history(HistoryRequest(channel="news", limit=10, since=since))
    say("history", [one.data["n"] for one in history.publications] + [history.offset])
    presence = client.presence(PresenceRequest(channel="news")).presence
    stats = client.presence_stats(PresenceStatsRequest(channel="news"))
    say("presence", [presence[session].client == session, stats.num_clients, stats.num_users])
    channels = client.channels(ChannelsRequest(pattern="new*")).channels
    say("channels", {name: channel.num_clients for name, channel in channels.items()})
    say("info", [node.name for node in client.info(InfoRequest()).nodes])
    batch = client.batch(
        BatchRequest(requests=[PublishRequest(channel="news", data={"n": 4}), InfoRequest()], parallel=False)
    )
    say("batch", [batch.replies[0].offset, batch.replies[1].nodes[0].num_clients])
    try:
        client.publish(PublishRequest(channel="nowhere:1", data={}))
    except CentApiResponseError as error:
        say("error", error.code)
    try:
        Client(url, "wrong").info(InfoRequest())
    except CentUnauthorizedError:
        say("unauthorized", True)
    # Each of these concerns the sessions of one user in Centrifugo; anonymous ones are told apart by their ids here.
    client.subscribe(SubscribeRequest(user="", channel="more", client=session))
    client.unsubscribe(UnsubscribeRequest(user="", channel="news", client=session))
    say("told", True)
    # Until somebody has seen what came of it.
    sys.stdin.readline()
    leave = Disconnect(code=4100, reason="moved")
    client.disconnect(DisconnectRequest(user="", client=session, disconnect=leave))
    say("done", True)


main()
