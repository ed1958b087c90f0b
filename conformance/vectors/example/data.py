"""Session Data: segments, requests and acknowledgements."""
from .parts import Refused, check_length, integer, need, read_header

VERSION = 1
KINDS = ["segment", "request", "acknowledgement"]


def decode(dialect, mtu, wire):
    # A datagram that is no sequence of whole messages is refused whole.
    payloads = []
    while wire or not payloads:
        kind, length, rest = read_header(VERSION, wire)
        check_length(length, len(rest), mtu - 4)
        payloads.append((kind, rest[:length]))
        wire = rest[length:]
    messages, refusals = [], []
    for kind, payload in payloads:
        try:
            messages.append(read_payload(dialect, kind, payload))
        except Refused as refused:
            refusals.append(refused)
    if not messages:
        raise refusals[0]
    return messages


def encode(dialect, mtu, message):
    limit = min(mtu - 4, 2047) if dialect == "rfc0007" else mtu - 4
    if message["kind"] == "segment":
        payload = write_segment(dialect, message)
    else:
        payload = write_list(dialect, message, limit)
    if len(payload) > limit:
        raise Refused("too-long", length=len(payload), limit=limit)
    return payload


def read_payload(dialect, kind, payload):
    if kind >= len(KINDS):
        raise Refused("unknown-type", type=kind)
    kind = KINDS[kind]
    if kind == "segment":
        return {"kind": kind, **read_segment(dialect, payload)}
    size = 5 if kind == "request" else 4
    end = len(payload) - len(payload) % size
    entries = [payload[at:at + size] for at in range(0, end, size)]
    entries = [(integer(entry[:4]), entry[4:]) for entry in entries if any(entry[:4])]
    check_order([frame for frame, _ in entries])
    if any(payload[end:]):
        raise Refused("partial-entry", bytes=len(payload) - end)
    if kind == "acknowledgement":
        return {"kind": kind, "frames": [frame for frame, _ in entries]}
    missing = [[frame, index] for frame, (bits,) in entries for index in range(8) if bits & bit(dialect, index)]
    return {"kind": kind, "missing": missing}


def read_segment(dialect, payload):
    need(payload, 6)
    frame, index, flags = integer(payload[:4]), payload[4], payload[5]
    count = flags & 0x3f if dialect == "hoprnet" else (flags & 0x3f) + 1
    if frame == 0:
        raise Refused("zero-frame-id")
    if flags & 0x40:
        raise Refused("reserved-bits", flags=flags)
    if count == 0:
        raise Refused("zero-segment-count")
    if index >= count:
        raise Refused("index-beyond-count", index=index, count=count)
    return {"frame_id": frame, "index": index, "count": count, "terminating": flags >= 0x80, "data": payload[6:].hex()}


def write_segment(dialect, message):
    count, limit = message["count"], max_count(dialect)
    if count > limit:
        raise Refused("too-many-segments", count=count, limit=limit)
    flags = (0x80 if message["terminating"] else 0) | (count if dialect == "hoprnet" else count - 1)
    return message["frame_id"].to_bytes(4, "big") + bytes([message["index"], flags]) + bytes.fromhex(message["data"])


def write_list(dialect, message, limit):
    if message["kind"] == "acknowledgement":
        entries, size = [(frame, b"") for frame in message["frames"]], 4
    else:
        bitmaps, size = {}, 5
        for frame, index in message["missing"]:
            bitmaps[frame] = bitmaps.get(frame, 0) | bit(dialect, index)
        entries = [(frame, bytes([bits])) for frame, bits in bitmaps.items()]
    check_order([frame for frame, _ in entries])
    if len(entries) > limit // size:
        raise Refused("too-many-entries", limit=limit // size)
    payload = b"".join(frame.to_bytes(4, "big") + bits for frame, bits in entries)
    return payload.ljust(limit, b"\0") if dialect == "hoprnet" else payload


def check_order(frames):
    if any(first >= second for first, second in zip(frames, frames[1:])):
        raise Refused("unordered-entries")


def max_count(dialect):
    return 63 if dialect == "hoprnet" else 64


def bit(dialect, index):
    return 0x80 >> index if dialect == "hoprnet" else 1 << index
