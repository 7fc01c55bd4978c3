"""What the official Centrifuge client for Python makes of frames, without a connection: its own two codecs.

    python codec.py input.json output.json

Input and output are those of ../js/codec.mjs.
"""

import base64
import json
import sys
from types import SimpleNamespace

from centrifuge.codecs import _JsonCodec, _ProtobufCodec

CODECS = {"json": _JsonCodec, "protobuf": _ProtobufCodec}
PAYLOADS = {"data", "conn_info", "chan_info"}
# The Protobuf library tells numbers of 64 bits as strings.
WIDE = {"offset", "time", "flag", "id"}


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def as_bytes(command):
    def one(key, value):
        if key in PAYLOADS:
            return base64.b64encode(compact(value).encode()).decode()
        return as_bytes(value) if isinstance(value, dict) else value

    return {key: one(key, value) for key, value in command.items()}


def told(framing, value, key=None):
    if key in PAYLOADS:
        return compact(value) if framing == "json" else base64.b64decode(value).decode()
    if isinstance(value, list):
        return [told(framing, item) for item in value]
    if isinstance(value, dict):
        return {name: told(framing, item, name) for name, item in value.items()}
    return int(value) if key in WIDE else value


def received(framing, frame):
    frame = base64.b64decode(frame)
    return CODECS[framing].decode_replies(frame.decode() if framing == "json" else frame)


def applied(framing, chain):
    base = None
    for frame in chain:
        publication = received(framing, frame)[0]["push"]["pub"]
        data = publication["data"]
        data = data if framing == "json" else base64.b64decode(data)
        publication = SimpleNamespace(data=data, delta=publication.get("delta", False))
        data, base = CODECS[framing].apply_delta_if_needed(base, publication)
        yield compact(data) if framing == "json" else base64.b64encode(data).decode()


def main():
    given, output = sys.argv[1:]
    with open(given, encoding="utf-8") as file:
        given = json.load(file)
    result = {"commands": {}, "frames": {}, "chains": {}}
    for framing, codec in CODECS.items():
        commands = given["commands"]
        sent = codec.encode_commands(commands if framing == "json" else [as_bytes(command) for command in commands])
        sent = sent.encode() if framing == "json" else sent
        result["commands"][framing] = base64.b64encode(sent).decode()
        frames = [received(framing, frame) for frame in given["frames"][framing]]
        result["frames"][framing] = told(framing, frames)
        result["chains"][framing] = [list(applied(framing, chain)) for chain in given["chains"][framing]]
    with open(output, "w", encoding="utf-8") as file:
        json.dump(result, file)


main()
