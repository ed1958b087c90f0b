"""An independent client of the message relay: plays the exchange of both dialects against a running relay.

Shares nothing with the Rust code: schemas, signatures and chat numbers are written here from the protocol's description.
"""

import argparse
import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

import nacl.bindings as sodium
import nacl.signing
import websockets
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PATIENCE = 20
ALPHABET = "ybndrfg8ejkmcpqxot1uw2sza345h769"

# Field number, name and type of each message; `*` for a repeated one.
DEPLOYED = {
    "Ack": [],
    "Unregister": [],
    "Error": [(1, "name", "string"), (2, "description", "string")],
    "Address": [(1, "identityKey", "bytes"), (2, "deviceId", "bytes")],
    "Configuration": [(1, "maxAttachmentSize", "int64")],
    "Login": [(1, "address", "Address"), (2, "nonce", "bytes")],
    "AuthChallenge": [(1, "nonce", "bytes")],
    "AuthResponse": [(1, "login", "bytes"), (2, "signature", "bytes")],
    "Register": [(1, "signedPreKey", "bytes"), (2, "oneTimePreKeys", "bytes*")],
    "RequestPreKeys": [(1, "identityKey", "bytes"), (2, "knownDeviceIds", "bytes*")],
    "PreKey": [(1, "deviceId", "bytes"), (2, "signedPreKey", "bytes"), (3, "oneTimePreKey", "bytes")],
    "PreKeys": [(1, "preKeys", "PreKey*")],
    "PreKeysLow": [(1, "keysRequested", "uint32")],
    "OutboundMessage": [(1, "to", "Address"), (2, "unidentifiedSenderMessage", "bytes")],
    "InboundMessage": [(3, "unidentifiedSenderMessage", "bytes")],
    "RequestUploadAuthorizations": [(1, "numRequested", "int32")],
    # A map of strings is a list of these.
    "FormField": [(1, "key", "string"), (2, "value", "string")],
    "UploadAuthorization": [
        (1, "uploadURL", "string"), (2, "uploadFormData", "FormField*"), (3, "authorizationExpiresAt", "int64"),
        (4, "maxUploadSize", "int64"), (5, "downloadURL", "string"),
    ],
    "UploadAuthorizations": [(1, "authorizations", "UploadAuthorization*")],
    "FindChatNumberByShortNumber": [(1, "shortNumber", "string")],
    "FindChatNumberByIdentityKey": [(1, "identityKey", "bytes")],
    "ChatNumber": [(1, "number", "string"), (2, "shortNumber", "string"), (3, "domain", "string")],
    "Message": [
        (1, "sequence", "uint32"), (2, "ack", "Ack"), (3, "error", "Error"), (4, "configuration", "Configuration"),
        (5, "authChallenge", "AuthChallenge"), (6, "authResponse", "AuthResponse"), (7, "register", "Register"),
        (8, "unregister", "Unregister"), (9, "requestPreKeys", "RequestPreKeys"), (10, "preKeys", "PreKeys"),
        (12, "preKeysLow", "PreKeysLow"), (13, "requestUploadAuthorizations", "RequestUploadAuthorizations"),
        (14, "uploadAuthorizations", "UploadAuthorizations"),
        (15, "outboundMessage", "OutboundMessage"), (16, "inboundMessage", "InboundMessage"),
        (17, "findChatNumberByShortNumber", "FindChatNumberByShortNumber"),
        (18, "findChatNumberByIdentityKey", "FindChatNumberByIdentityKey"), (19, "chatNumber", "ChatNumber"),
    ],
}
SEED = {
    "Ack": [],
    "Unregister": [],
    "Error": [(1, "name", "string"), (2, "description", "string")],
    "Address": [(1, "userID", "bytes"), (2, "deviceID", "uint32")],
    "Login": [(1, "address", "Address"), (2, "nonce", "bytes")],
    "AuthChallenge": [(1, "nonce", "bytes")],
    "AuthResponse": [(1, "login", "bytes"), (2, "signature", "bytes")],
    "Register": [(1, "registrationID", "uint32"), (2, "signedPreKey", "bytes"), (3, "oneTimePreKeys", "bytes*")],
    "RequestPreKeys": [(1, "userID", "bytes"), (2, "knownDeviceIDs", "uint32*")],
    "PreKey": [
        (1, "address", "Address"), (2, "registrationID", "uint32"), (3, "signedPreKey", "bytes"),
        (4, "oneTimePreKey", "bytes"),
    ],
    "PreKeysLow": [(1, "keysRequested", "uint32")],
    "OutboundMessage": [(1, "to", "Address"), (2, "unidentifiedSenderMessage", "bytes")],
    "Message": [
        (1, "sequence", "uint32"), (2, "ack", "Ack"), (3, "error", "Error"), (4, "authChallenge", "AuthChallenge"),
        (5, "authResponse", "AuthResponse"), (6, "register", "Register"), (7, "unregister", "Unregister"),
        (8, "requestPreKeys", "RequestPreKeys"), (9, "preKey", "PreKey"), (10, "preKeysLow", "PreKeysLow"),
        (11, "outboundMessage", "OutboundMessage"), (12, "inboundMessage", "bytes"),
    ],
}


def classes(package, schema):
    """The message classes of a schema; every field of Message but the first is one of its payload."""
    field = descriptor_pb2.FieldDescriptorProto
    kinds = {
        "string": field.TYPE_STRING, "bytes": field.TYPE_BYTES, "uint32": field.TYPE_UINT32,
        "int32": field.TYPE_INT32, "int64": field.TYPE_INT64,
    }
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for name, fields in schema.items():
        message = file.message_type.add(name=name)
        if name == "Message":
            message.oneof_decl.add(name="payload")
        for number, field_name, kind in fields:
            added = message.field.add(name=field_name, number=number, label=field.LABEL_OPTIONAL)
            if kind.endswith("*"):
                added.label, kind = field.LABEL_REPEATED, kind[:-1]
            if kind in kinds:
                added.type = kinds[kind]
            else:
                added.type, added.type_name = field.TYPE_MESSAGE, f".{package}.{kind}"
            if name == "Message" and number > 1:
                added.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    get = message_factory.GetMessageClass
    return {name: get(pool.FindMessageTypeByName(f"{package}.{name}")) for name in schema}


def base32(data):
    bits = "".join(f"{byte:08b}" for byte in data)
    bits += "0" * (-len(bits) % 5)
    return "".join(ALPHABET[int(bits[at:at + 5], 2)] for at in range(0, len(bits), 5))


def chat_number(identity):
    """82 digits without a five: the two highest bits in the first one, the others in base 9."""
    head = "2346"[identity[0] >> 6]
    rest = int.from_bytes(bytes([identity[0] << 2 & 0xFF]) + identity[1:], "big")
    digits = ""
    while rest:
        rest, digit = divmod(rest, 9)
        digits = "012346789"[digit] + digits
    return head + digits.rjust(81, "0")


class X25519Key:
    """A Curve25519 key that signs as clients in the field do: the Edwards sign is in the signature's highest bit."""

    def __init__(self, private):
        clamped = bytearray(private)
        clamped[0] &= 248
        clamped[31] = clamped[31] & 127 | 64
        self.scalar = sodium.crypto_core_ed25519_scalar_reduce(bytes(clamped) + bytes(32))
        self.edwards = sodium.crypto_scalarmult_ed25519_base_noclamp(self.scalar)
        self.identity = sodium.crypto_scalarmult_base(bytes(clamped))
        self.private = bytes(clamped)

    def sign(self, message):
        prefix = b"\xfe" + b"\xff" * 31
        nonce = self._reduced(prefix + self.private + message + os.urandom(64))
        point = sodium.crypto_scalarmult_ed25519_base_noclamp(nonce)
        challenge = self._reduced(point + self.edwards + message)
        product = sodium.crypto_core_ed25519_scalar_mul(challenge, self.scalar)
        scalar = bytearray(sodium.crypto_core_ed25519_scalar_add(nonce, product))
        scalar[31] |= self.edwards[31] & 0x80
        return point + bytes(scalar)

    @staticmethod
    def _reduced(data):
        return sodium.crypto_core_ed25519_scalar_reduce(hashlib.sha512(data).digest())


class Client:
    """One connection."""

    def __init__(self, types, socket):
        self.types, self.socket = types, socket

    @classmethod
    async def connect(cls, url, types):
        # Without compression, as the relay need not offer it.
        return cls(types, await websockets.connect(url, compression=None, open_timeout=PATIENCE))

    async def say(self, sequence, **payload):
        message = self.types["Message"](sequence=sequence, **payload)
        # An empty message is a payload as well.
        for name, value in payload.items():
            if not isinstance(value, bytes):
                getattr(message, name).SetInParent()
        await self.socket.send(message.SerializeToString())

    async def hear(self, payload, sequence=None):
        """The next message, which must say this."""
        frame = await asyncio.wait_for(self.socket.recv(), PATIENCE)
        assert isinstance(frame, bytes), "a text frame"
        message = self.types["Message"].FromString(frame)
        assert message.WhichOneof("payload") == payload, f"{message} is no {payload}"
        assert sequence is None or message.sequence == sequence, message
        return message.sequence, getattr(message, payload)

    async def hear_close(self, code):
        try:
            frame = await asyncio.wait_for(self.socket.recv(), PATIENCE)
        except websockets.ConnectionClosed as closed:
            assert closed.rcvd is not None and closed.rcvd.code == code, closed
        else:
            raise AssertionError(f"{frame} after the end")


def transfer(authorization):
    """Uploads an attachment with an authorization, and downloads it."""
    assert authorization.authorizationExpiresAt / 1000 > time.time() + 3600
    sealed, boundary = os.urandom(300_000), os.urandom(16).hex()
    body = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field.key}"\r\n\r\n{field.value}\r\n'.encode()
        for field in authorization.uploadFormData
    )
    file = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n\r\n'
    body += file.encode() + sealed + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    request = urllib.request.Request(authorization.uploadURL, body, headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        assert response.status == 204, response.status
    with urllib.request.urlopen(authorization.downloadURL, timeout=PATIENCE) as response:
        assert response.read() == sealed


async def deployed(url, private):
    types = classes("tassis", DEPLOYED)
    key, device = X25519Key(private), os.urandom(16)
    address = types["Address"](identityKey=key.identity, deviceId=device)
    number = chat_number(key.identity)

    async def connect():
        client = await Client.connect(url, types)
        _, challenge = await client.hear("authChallenge", 1)
        assert len(challenge.nonce) == 32
        _, configuration = await client.hear("configuration", 2)
        assert configuration.maxAttachmentSize > 0, configuration
        return client, challenge.nonce

    async def log_in():
        client, nonce = await connect()
        login = types["Login"](address=address, nonce=nonce).SerializeToString()
        # As a client in the field does, with the sequence number 0.
        await client.say(0, authResponse=types["AuthResponse"](login=login, signature=key.sign(login)))
        _, found = await client.hear("chatNumber", 0)
        assert (found.number, found.shortNumber) == (number, number[:12]), found
        return client

    recipient = await log_in()
    sender, _ = await connect()

    one_time = [os.urandom(33) for _ in range(10)]
    register = types["Register"](signedPreKey=b"signed", oneTimePreKeys=one_time)
    await recipient.say(2, register=register)
    await recipient.hear("ack", 2)
    await sender.say(2, register=register)
    _, error = await sender.hear("error", 2)
    assert error.name == "unauthorized", error
    await recipient.say(3, requestPreKeys=types["RequestPreKeys"](identityKey=key.identity))
    _, error = await recipient.hear("error", 3)
    assert error.name == "attempted_anonymous_op_on_authenticated_connection", error

    await sender.say(3, findChatNumberByShortNumber=types["FindChatNumberByShortNumber"](shortNumber=number[:12]))
    _, found = await sender.hear("chatNumber", 3)
    assert found.number == number
    await sender.say(4, findChatNumberByShortNumber=types["FindChatNumberByShortNumber"](shortNumber="0"))
    _, error = await sender.hear("error", 4)
    assert error.name == "unnkown_short_number", error
    await sender.say(5, requestPreKeys=types["RequestPreKeys"](identityKey=bytes(32)))
    _, error = await sender.hear("error", 5)
    assert error.name == "unknown_identity", error
    await sender.say(6, requestPreKeys=types["RequestPreKeys"](identityKey=key.identity))
    _, found = await sender.hear("preKeys", 6)
    [prekey] = found.preKeys
    assert (prekey.deviceId, prekey.signedPreKey, prekey.oneTimePreKey) == (device, b"signed", one_time[-1])

    request = types["RequestUploadAuthorizations"](numRequested=10)
    await sender.say(20, requestUploadAuthorizations=request)
    _, found = await sender.hear("uploadAuthorizations", 20)
    assert len(found.authorizations) == 10
    await asyncio.to_thread(transfer, found.authorizations[0])
    await sender.say(21, requestUploadAuthorizations=types["RequestUploadAuthorizations"](numRequested=0))
    _, error = await sender.hear("error", 21)
    assert error.name == "unknown_error", error

    for sequence, sealed in [(7, os.urandom(700)), (8, b"")]:
        outbound = types["OutboundMessage"](to=address, unidentifiedSenderMessage=sealed)
        await sender.say(sequence, outboundMessage=outbound)
        await sender.hear("ack", sequence)
        delivered, inbound = await recipient.hear("inboundMessage")
        assert inbound.unidentifiedSenderMessage == sealed
        await recipient.say(delivered, ack=types["Ack"]())
    await recipient.say(9, register=types["Register"](signedPreKey=b"signed"))
    await recipient.hear("ack", 9)

    # One of the ten is gone: the relay asks for more at the next login, and nothing comes again.
    again = await log_in()
    _, low = await again.hear("preKeysLow")
    assert low.keysRequested == 20, low

    stranger, nonce = await connect()
    login = types["Login"](address=address, nonce=nonce).SerializeToString()
    await stranger.say(0, authResponse=types["AuthResponse"](login=login, signature=X25519Key(os.urandom(32)).sign(login)))
    _, error = await stranger.hear("error", 0)
    assert error.name == "unauthorized", error
    await stranger.hear_close(1008)
    await again.socket.send(b"forceclose")
    await again.hear_close(1000)
    await sender.socket.send(bytes(32769))
    await sender.hear_close(1009)
    await recipient.socket.close()


async def seed(url):
    types = classes("signal", SEED)
    key = nacl.signing.SigningKey.generate()
    user = b"\x05" + bytes(key.verify_key)
    address = types["Address"](userID=user, deviceID=3)

    async def connect():
        client = await Client.connect(url, types)
        _, challenge = await client.hear("authChallenge", 1)
        return client, challenge.nonce

    async def log_in():
        client, nonce = await connect()
        login = types["Login"](address=address, nonce=nonce).SerializeToString()
        signature = key.sign(login).signature
        await client.say(0, authResponse=types["AuthResponse"](login=login, signature=signature))
        await client.hear("ack", 0)
        return client

    recipient = await log_in()
    sender, _ = await connect()
    one_time = [os.urandom(33) for _ in range(10)]
    register = types["Register"](registrationID=77, signedPreKey=b"signed", oneTimePreKeys=one_time)
    await recipient.say(2, register=register)
    await recipient.hear("ack", 2)
    await sender.say(2, requestPreKeys=types["RequestPreKeys"](userID=user))
    _, prekey = await sender.hear("preKey")
    assert (prekey.address, prekey.registrationID) == (address, 77), prekey
    assert (prekey.signedPreKey, prekey.oneTimePreKey) == (b"signed", one_time[-1])
    await sender.say(3, requestPreKeys=types["RequestPreKeys"](userID=b"\x05" + bytes(32)))
    _, error = await sender.hear("error", 3)
    assert error.name == "unknown_user", error

    sealed = os.urandom(700)
    await sender.say(4, outboundMessage=types["OutboundMessage"](to=address, unidentifiedSenderMessage=sealed))
    await sender.hear("ack", 4)
    delivered, inbound = await recipient.hear("inboundMessage")
    assert inbound == sealed
    await recipient.say(delivered, ack=types["Ack"]())
    await recipient.say(3, unregister=types["Unregister"]())
    await recipient.hear("ack", 3)
    await recipient.say(4, register=types["Register"](registrationID=77, signedPreKey=b"signed"))
    await recipient.hear("ack", 4)

    again = await log_in()
    _, low = await again.hear("preKeysLow")
    assert low.keysRequested == 20, low
    for client in (again, recipient, sender):
        await client.socket.close()


async def play(address):
    # One key of each Edwards sign.
    keys, signs = [], set()
    while signs != {0, 0x80}:
        private = os.urandom(32)
        sign = X25519Key(private).edwards[31] & 0x80
        if sign not in signs:
            signs.add(sign)
            keys.append(private)
    for private in keys:
        await deployed(f"ws://{address}/api", private)
    await seed(f"ws://{address}/v0/api")


def check_vector():
    """The description's own example, so that a mistake here is not taken for one of the relay's."""
    key = X25519Key(bytes.fromhex("59eec68d79db6175ee056528958d0258cd6ec8a610781cb15686dafd9cd9f7ce"))
    assert key.identity.hex() == "744853a68b0d91177a7872092159ab5a9143c97e3c0e625af92145c10d4ef649"
    assert key.edwards[31] & 0x80
    assert base32(key.identity) == "qtrf8jwmbsetq6uaqer1nspmmkew81m68o8grsz3rfnhndkq63ro"
    number = "3428248422436903297721822246743777369082729000180606699923898262147466901806301364"
    assert chat_number(key.identity) == number


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--towline", required=True, help="the program")
    arguments = parser.parse_args()
    check_vector()
    with tempfile.TemporaryDirectory() as data:
        serve = [arguments.towline, "relay", "serve", "--listen", "127.0.0.1:0", "--data", data]
        relay = subprocess.Popen(serve, stderr=subprocess.PIPE, text=True)
        try:
            line = relay.stderr.readline()
            address = line.removeprefix("listening on ").strip()
            assert address != line.strip(), f"the relay says {line!r}"
            asyncio.run(asyncio.wait_for(play(address), 10 * PATIENCE))
        finally:
            relay.send_signal(signal.SIGTERM)
            status = relay.wait(PATIENCE)
        assert status == 0, f"the relay ends with {status}"
    print("both dialects: all is as described")


if __name__ == "__main__":
    sys.exit(main())
