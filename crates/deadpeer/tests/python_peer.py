#!/usr/bin/env python3
"""An independent peer of the session protocol, version 2, written from docs/protocol.md alone.

    python_peer.py connect PORT ACTION...      python_peer.py accept PORT ACTION...

Actions, one after the other: send:TEXT  big:BYTES (a message in pieces)  unknown (a frame to be skipped)
echo (answers every message until the peer ends or leaves)  end  drain  reset  bye  wait:SECONDS
Prints what happens, one line each.
"""
import random, select, socket, struct, sys, time

MAX_MESSAGE, WINDOW, SEND, HEAR, PATIENCE = 65536, 131072, 100, 500, 3000


class Peer:
    def __init__(self, sock, connector):
        self.sock, self.inbox, self.buffer, self.message = sock, [], b"", b""
        self.credit, self.taken, self.up, self.ended, self.left, self.over = 0, 0, False, False, False, False
        self.interval, self.heard, self.sent, self.beats = 0.1, time.monotonic(), time.monotonic(), 0
        if connector:
            self.hello()

    def write(self, data):
        self.sock.sendall(data)
        self.sent, self.due = time.monotonic(), self.interval * random.uniform(0.70, 0.875)

    def hello(self):
        options = struct.pack(">BH", 1, 6) + b"python" + struct.pack(">BHI", 4, 4, WINDOW)
        body = struct.pack(">III", SEND, HEAR, PATIENCE) + options
        self.write(b"\x01DP\x02" + struct.pack(">H", len(body)) + body)

    def send(self, message):
        at = 0
        while True:
            while self.credit < 5:
                self.turn()
            piece = message[at : at + min(16384, self.credit - 4, 7000)]
            at += len(piece)
            self.credit -= 4 + len(piece)
            self.write(struct.pack(">BBH", 5, at < len(message), len(piece)) + piece)
            if at == len(message):
                return

    def turn(self, wait=0.05):
        """Reads what there is, answers, beats; notices silence."""
        if select.select([self.sock], [], [], wait)[0]:
            data = self.sock.recv(65536)
            if not data:
                self.over = True
                if not (self.left and self.ended):
                    print("closed")
                return
            self.heard, self.buffer = time.monotonic(), self.buffer + data
            while (length := self.frame()) and not self.over:
                self.buffer = self.buffer[length:]
        if self.taken >= WINDOW // 4:
            self.write(struct.pack(">BI", 8, self.taken))
            self.taken = 0
        now = time.monotonic()
        if self.up and now - self.sent >= self.due:
            self.beats += 1
            self.write(b"\x03abcd" if self.beats % 6 == 1 else b"\x02")
        if now - self.heard > PATIENCE / 1000:
            print("lost")
            self.over = True

    def frame(self):
        """Takes one frame from the buffer; the number of its bytes, or 0 if it is not whole."""
        b, n = self.buffer, len(self.buffer)
        if n == 0:
            return 0
        kind = b[0]
        if kind == 1:
            length = 6 + struct.unpack(">H", b[4:6])[0] if n >= 6 else n + 1
            if n >= length:
                self.greeted(b[:length])
        elif kind in (2, 6):
            length = 1
            if kind == 6:
                self.inbox.append(None)
                print("end")
        elif kind in (3, 4, 8, 9):
            length = 5
            if n >= 5 and kind == 3:
                self.write(b"\x04" + b[1:5])
            elif n >= 5 and kind == 8:
                self.credit += struct.unpack(">I", b[1:5])[0]
            elif n >= 5 and kind == 9:
                print("drain", struct.unpack(">I", b[1:5])[0])
        elif kind == 5:
            length = 4 + struct.unpack(">H", b[2:4])[0] if n >= 4 else n + 1
            if n >= length:
                self.message, self.taken = self.message + b[4:length], self.taken + length
                if not b[1]:
                    print("message", len(self.message))
                    self.inbox.append(self.message)
                    self.message = b""
        elif kind == 7:
            length = 7 + b[6] if n >= 7 else n + 1
            if n >= length:
                print("bye", b[1], struct.unpack(">I", b[2:6])[0], b[7:length].decode())
                self.inbox.append(None)
                self.ended = True
                if not self.left:
                    self.bye()
                self.over = True
        elif kind == 10:
            length = 2
            if n >= 2:
                print("reset", b[1])
                self.over = True
        elif kind >= 0x80:
            length = 3 + struct.unpack(">H", b[1:3])[0] if n >= 3 else n + 1
        else:
            raise ValueError(f"unknown frame {kind}")
        return length if n >= length else 0

    def greeted(self, hello):
        assert hello[1:4] == b"DP\x02", hello
        _, hear, _ = struct.unpack(">III", hello[6:18])
        options, name = hello[18:], ""
        while options:
            kind, length = struct.unpack(">BH", options[:3])
            value, options = options[3 : 3 + length], options[3 + length :]
            if kind == 1:
                name = value.decode()
            elif kind == 4:
                self.credit = struct.unpack(">I", value)[0]
            elif kind < 0x80 and kind not in (3, 6):
                raise ValueError(f"unknown option {kind}")
        self.interval = max(SEND, hear) / 1000
        if not self.connector:
            self.hello()
        self.up, self.due = True, 0
        print("up", name)

    def bye(self):
        self.left = True
        self.write(b"\x07\x00\x00\x00\x00\x00\x06thanks")


def main(role, port, *actions):
    connector = role == "connect"
    Peer.connector = connector
    if connector:
        sock = socket.create_connection(("127.0.0.1", int(port)))
    else:
        with socket.create_server(("127.0.0.1", int(port))) as server:
            print("listening", server.getsockname()[1])
            sock, _ = server.accept()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer = Peer(sock, connector)
    while not peer.up and not peer.over:
        peer.turn()
    for action in actions:
        name, _, value = action.partition(":")
        if peer.over:
            break
        if name == "send":
            peer.send(value.encode())
        elif name == "big":
            peer.send(bytes(int(value)))
        elif name == "unknown":
            peer.write(b"\x90\x00\x03xyz")
        elif name == "end":
            peer.write(b"\x06")
        elif name == "drain":
            peer.write(b"\x09\x00\x00\x03\xe8")
        elif name == "reset":
            peer.write(b"\x0a\x06")
            peer.over = True
        elif name == "bye":
            peer.bye()
        elif name == "echo":
            while not peer.over:
                peer.turn()
                while peer.inbox:
                    message = peer.inbox.pop(0)
                    if message is None:
                        break
                    peer.send(message)
        elif name == "wait":
            until = time.monotonic() + float(value)
            while time.monotonic() < until and not peer.over:
                peer.turn()
    while not peer.over:
        peer.turn()
    sock.close()


sys.stdout.reconfigure(line_buffering=True)
main(*sys.argv[1:])
