#!/usr/bin/env python3
"""Runs an implementation through the vectors: by default the one in `example`, which shares nothing with
the implementation that the vectors come from. To test another one, import it in the place of `example`.

    python3 verify.py [FOLDER]

Needs Python 3.9 and nothing else.
"""
import json
import pathlib
import sys

sys.dont_write_bytecode = True
from example.codec import Refused, decode, encode  # noqa: E402

FORMAT = 1
DIALECTS = "rfc0007", "rfc0009", "hoprnet"


def main(folder):
    passed, failures = 0, []
    for dialect in DIALECTS:
        file = json.loads((folder / f"{dialect}.json").read_text(encoding="utf-8"))
        if (file["format"], file["dialect"]) != (FORMAT, dialect):
            sys.exit(f"{dialect}.json is of another format or dialect")
        for protocol in "data", "start", "tag":
            for vector, what, wanted, found in checks(protocol, dialect, file[protocol]):
                passed += found == wanted
                if found != wanted:
                    failures.append(f"{dialect} {vector['id']}: {what}: wanted {wanted}, found {found}")
    print(*failures, f"{passed} passed, {len(failures)} failed", sep="\n")
    return 1 if failures else 0


def checks(protocol, dialect, section):
    """Every vector of a section, with what is wanted and what the implementation makes of it."""
    for vector in section["valid"]:
        context = protocol, dialect, vector.get("mtu")
        yield vector, "decode", vector["messages"], outcome(decode, *context, bytes.fromhex(vector["wire"]))
        if vector["canonical"]:
            [message] = vector["messages"]
            yield vector, "encode", vector["wire"], outcome(encode, *context, message)
    for vector in section["invalid"]:
        context = protocol, dialect, vector.get("mtu")
        yield vector, "decode", refusal(vector), outcome(decode, *context, bytes.fromhex(vector["wire"]))
    for vector in section["unsendable"]:
        context = protocol, dialect, vector.get("mtu")
        yield vector, "encode", refusal(vector), outcome(encode, *context, vector["message"])


def outcome(function, *arguments):
    """What a function returns, bytes in hexadecimal, or the reason and the values of its refusal."""
    try:
        result = function(*arguments)
        return result.hex() if isinstance(result, bytes) else result
    except Refused as refused:
        return refused.reason, refused.values


def refusal(vector):
    return vector["reason"], vector.get("values", {})


if __name__ == "__main__":
    here = pathlib.Path(__file__).parent
    sys.exit(main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here))
