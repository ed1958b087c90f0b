"""What both protocols have in common: the header, numbers, and what is wrong with bytes."""


class Refused(Exception):
    """Bytes that are no message, or a message that is not to be sent."""

    def __init__(self, reason, **values):
        super().__init__(reason, values)
        self.reason, self.values = reason, values


def read_header(version, wire):
    if wire and wire[0] != version:
        raise Refused("unknown-version", version=wire[0])
    need(wire, 4)
    return wire[1], integer(wire[2:4]), wire[4:]


def check_length(length, have, limit):
    if length > limit:
        raise Refused("too-long", length=length, limit=limit)
    if length > have:
        raise Refused("length-beyond-end", length=length, have=have)


def check_end(rest):
    if rest:
        raise Refused("trailing-bytes", bytes=len(rest))


def need(data, length):
    if len(data) < length:
        raise Refused("truncated", needed=length, have=len(data))


def integer(data):
    return int.from_bytes(data, "big")


def number(data):
    """A number of up to 64 bits in JSON: a string where many readers would lose digits."""
    value = integer(data)
    return value if value <= 2**53 else str(value)
