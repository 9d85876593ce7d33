"""Waits for a server that falls silent, with a blocking socket and with asyncio: run by the Rust tests, which
cut the way to the server.

    silence.py blocking|asyncio HOST PORT DETECT SURVIVE
"""

import asyncio
import socket
import sys
import time

import deadpeer


def say(silent, applied, why):
    print(
        f"lost after {silent:.1f} s of silence, predicted {applied.idle.least:.1f} to {applied.idle.most:.1f} s: {why}",
        flush=True,
    )


def blocking(host, port, detect, survive):
    with socket.create_connection((host, port)) as sock:
        applied = deadpeer.apply(sock, detect, survive)
        print("connected", flush=True)
        while True:
            try:
                data = sock.recv(4096)
            except OSError as error:
                say(time.monotonic() - heard, applied, deadpeer.explain(sock, error))
                return
            heard = time.monotonic()
            print(data.decode(), end="", flush=True)


class Client(asyncio.Protocol):
    def __init__(self, detect, survive):
        self.goals = (detect, survive)
        self.over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        self.applied = deadpeer.apply(transport, *self.goals)
        print("connected", flush=True)

    def data_received(self, data):
        self.heard = time.monotonic()
        print(data.decode(), end="", flush=True)

    def connection_lost(self, error):
        # The socket is still open here, and closed right after.
        say(time.monotonic() - self.heard, self.applied, deadpeer.explain(self.transport, error))
        self.over.set_result(None)


async def with_asyncio(host, port, detect, survive):
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: Client(detect, survive), host, port)
    await client.over


if __name__ == "__main__":
    how, host, port, detect, survive = sys.argv[1:]
    arguments = (host, int(port), float(detect), float(survive))
    if how == "blocking":
        blocking(*arguments)
    else:
        asyncio.run(with_asyncio(*arguments))
