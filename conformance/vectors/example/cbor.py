"""CBOR items (RFC 8949): where they end, and their diagnostic notation."""
import json
import struct

from .parts import Refused, check_end

MAX_NESTING = 16
UNSIGNED, NEGATIVE, BYTES, TEXT, ARRAY, MAP, TAG, SIMPLE = range(8)


def item(data):
    """The item at the start of the bytes, whatever follows it."""
    notation, rest = read(data)
    return {"cbor": data[:len(data) - len(rest)].hex(), "diagnostic": notation}


def whole_item(data):
    """The item that the bytes are."""
    _, rest = read(data)
    check_end(rest)
    return item(data)


def is_item(data):
    try:
        return bool(whole_item(data))
    except Refused:
        return False


def read(data, depth=0):
    """The notation of the item at the start, and the bytes after it."""
    major, info, argument, data = head(data)
    indefinite = info == 31
    if indefinite and major in (UNSIGNED, NEGATIVE, TAG, SIMPLE):
        raise Refused("invalid-cbor")
    if major in (UNSIGNED, NEGATIVE):
        return str(argument if major == UNSIGNED else -1 - argument), data
    if major in (BYTES, TEXT):
        return chunks(major, data) if indefinite else string(major, argument, data)
    if major == SIMPLE:
        return simple(info, argument), data
    if depth == MAX_NESTING:
        raise Refused("nesting-too-deep")
    entries, entry_len = [], 2 if major == MAP else 1
    count = 1 if major == TAG else argument
    while data[:1] != b"\xff" if indefinite else len(entries) < count:
        entry = []
        for _ in range(entry_len):
            part, data = read(data, depth + 1)
            entry.append(part)
        entries.append(": ".join(entry))
    if major == TAG:
        return f"{argument}({entries[0]})", data
    opening, closing = "{}" if major == MAP else "[]"
    return bracketed(opening, indefinite, entries, closing), data[1:] if indefinite else data


def head(data):
    (initial,), data = take(data, 1)
    major, info = initial >> 5, initial & 31
    if info < 24:
        return major, info, info, data
    if info < 28:
        argument, data = take(data, 1 << info - 24)
        return major, info, int.from_bytes(argument, "big"), data
    if info < 31:
        raise Refused("invalid-cbor")
    return major, info, None, data


def take(data, length):
    if len(data) < length:
        raise Refused("truncated-cbor")
    return data[:length], data[length:]


def string(major, length, data):
    content, data = take(data, length)
    if major == BYTES:
        return f"h'{content.hex()}'", data
    try:
        return json.dumps(content.decode("utf-8"), ensure_ascii=False), data
    except UnicodeDecodeError:
        raise Refused("invalid-cbor") from None


def chunks(major, data):
    parts = []
    while data[:1] != b"\xff":
        chunk_major, info, length, data = head(data)
        if chunk_major != major or info == 31:
            raise Refused("invalid-cbor")
        part, data = string(major, length, data)
        parts.append(part)
    return bracketed("(", True, parts, ")"), data[1:]


def bracketed(opening, indefinite, parts, closing):
    return opening + ("_ " if indefinite else "") + ", ".join(parts) + closing


def simple(info, argument):
    if info <= 24:
        if info == 24 and argument < 32:
            raise Refused("invalid-cbor")
        return {20: "false", 21: "true", 22: "null", 23: "undefined"}.get(argument, f"simple({argument})")
    width, form = {25: (2, ">e"), 26: (4, ">f"), 27: (8, ">d")}[info]
    (value,) = struct.unpack(form, argument.to_bytes(width, "big"))
    return {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(repr(value), repr(value))
