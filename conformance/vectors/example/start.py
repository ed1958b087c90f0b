"""Session Start: the handshake."""
from .cbor import is_item, item, whole_item
from .parts import Refused, check_end, check_length, integer, need, number, read_header

VERSION = 2
KINDS = ["start-session", "session-established", "session-error", "keep-alive"]


def decode(dialect, wire):
    kind, length, payload = read_header(VERSION, wire)
    if kind >= len(KINDS):
        raise Refused("unknown-type", type=kind)
    kind, strict = KINDS[kind], dialect != "hoprnet"
    if strict:
        check_length(length, len(payload), 0xffff)
        check_end(payload[length:])
    read_item = whole_item if strict else item
    if kind == "keep-alive":
        width = 4 if dialect == "rfc0007" else 8
        # Deployed peers send eight bytes; four are understood where length and item leave no doubt.
        if not strict and length == len(payload) and not is_item(payload[9:]) and is_item(payload[5:]):
            width = 4
        need(payload, 1 + width)
        flags = payload[0] if dialect == "hoprnet" else 0
        data, session_id = number(payload[1:1 + width]), read_item(payload[1 + width:])
        return {"kind": kind, "flags": flags, "additional_data": data, "session_id": session_id}
    need(payload, {"start-session": 13, "session-established": 8, "session-error": 9}[kind])
    message = {"kind": kind, "challenge": hex(integer(payload[:8]))}
    if kind == "session-established":
        return {**message, "session_id": read_item(payload[8:])}
    if kind == "session-error":
        if strict:
            check_end(payload[9:])
        return {**message, "reason": payload[8]}
    data, target = integer(payload[9:13]), read_item(payload[13:])
    return {**message, "capabilities": payload[8], "additional_data": data, "target": target}


def encode(dialect, message):
    if message["kind"] == "keep-alive":
        flags, data = message["flags"], int(message["additional_data"])
        width = 4 if dialect == "rfc0007" else 8
        if flags and dialect != "hoprnet":
            raise Refused("reserved-flags", flags=flags)
        if data >= 256**width:
            raise Refused("additional-data-too-wide", width=width)
        return bytes([flags]) + data.to_bytes(width, "big") + bytes.fromhex(message["session_id"]["cbor"])
    challenge = int(message["challenge"], 16).to_bytes(8, "big")
    if message["kind"] == "session-established":
        return challenge + bytes.fromhex(message["session_id"]["cbor"])
    if message["kind"] == "session-error":
        return challenge + bytes([message["reason"]])
    options = bytes([message["capabilities"]]) + message["additional_data"].to_bytes(4, "big")
    return challenge + options + bytes.fromhex(message["target"]["cbor"])
