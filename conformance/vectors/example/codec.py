"""A codec of the session protocol, for one purpose: to be run through the vectors.

`decode` turns a datagram into the messages in it, `encode` a message into its bytes. Messages are what the
vectors write: dictionaries with a `kind`.
"""
from . import data, start
from .parts import Refused, need, number

__all__ = ["Refused", "decode", "encode"]


def decode(protocol, dialect, mtu, wire):
    if protocol == "tag":
        return [read_tag(wire)]
    if protocol == "start":
        return [start.decode(dialect, wire)]
    return data.decode(dialect, mtu, wire)


def encode(protocol, dialect, mtu, message):
    if protocol == "tag":
        return int(message["tag"]).to_bytes(8, "big") + bytes.fromhex(message["message"])
    if protocol == "start":
        return whole(start, message, start.encode(dialect, message))
    return whole(data, message, data.encode(dialect, mtu, message))


def read_tag(wire):
    need(wire, 8)
    if wire[0] >> 5:
        raise Refused("reserved-tag")
    return {"kind": "tagged", "tag": number(wire[:8]), "message": wire[8:].hex()}


def whole(module, message, payload):
    kind = module.KINDS.index(message["kind"])
    return bytes([module.VERSION, kind]) + len(payload).to_bytes(2, "big") + payload
