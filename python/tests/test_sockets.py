"""deadpeer against real sockets of CPython: socket.socket, asyncio's streams and transports."""

import asyncio
import ctypes
import errno
import math
import os
import pathlib
import re
import select
import socket
import struct
import threading
import time
import unittest

import deadpeer
from deadpeer import _library


def pair():
    """Both ends of a connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    return client, server


def reset(sock):
    """Closes with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Sockets(unittest.TestCase):
    def setUp(self):
        self.client, self.server = pair()
        self.addCleanup(self.client.close)
        self.addCleanup(self.server.close)

    def test_apply_sets_what_the_kernel_then_has(self):
        applied = deadpeer.apply(self.client, detect=30)
        self.assertEqual(applied.gaps, ())
        get = self.client.getsockopt
        self.assertEqual(get(socket.SOL_SOCKET, socket.SO_KEEPALIVE), 1)
        self.assertEqual(get(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), applied.keepalive_idle)
        self.assertEqual(get(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL), applied.keepalive_interval)
        self.assertEqual(get(socket.IPPROTO_TCP, socket.TCP_KEEPCNT), applied.keepalive_probes)
        self.assertEqual(get(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT), applied.user_timeout * 1000)
        self.assertTrue(10 < applied.idle.least <= applied.idle.most <= 30, applied)

    def test_goals_reach_the_socket(self):
        with self.assertRaisesRegex(deadpeer.PolicyError, "With data in flight, a death is noticed only after"):
            deadpeer.apply(self.client, detect=30, slow_readers=True)
        applied = deadpeer.apply(self.client, detect=30, slow_readers=True, best_effort=True)
        self.assertEqual(applied.user_timeout, 0)
        self.assertGreater(applied.in_flight.least, 600)
        if os.path.exists("/proc/sys/net/ipv4/tcp_rto_max_ms"):
            applied = deadpeer.apply(self.client, detect=30, slow_readers=True, accept_rto_ceiling=True)
            self.assertEqual((applied.rto_max, applied.in_flight.most <= 30), (1, True))
            deadpeer.before_close(self.client)
            self.assertEqual(self.client.getsockopt(socket.IPPROTO_TCP, 44), 120_000)
        self.assertLess(deadpeer.apply(self.client, 600, 20, mapping_timeout=60).keepalive_idle, 60)
        with self.assertRaisesRegex(deadpeer.PolicyError, "B/day is not enough"):
            deadpeer.apply(self.client, detect=30, bytes_per_day=10)

    def test_accepted_sockets_inherit(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            deadpeer.apply(listener, detect=30)
            with socket.create_connection(listener.getsockname()):
                with listener.accept()[0] as accepted:
                    self.assertLessEqual(deadpeer.diagnose(accepted).idle.most, 30)

    def test_what_can_not_be_had_says_so_with_both_numbers(self):
        with self.assertRaisesRegex(deadpeer.PolicyError, "an outage of 6 s must be survived") as caught:
            deadpeer.apply(self.client, detect=5, survive=6)
        self.assertEqual((caught.exception.status, caught.exception.errno), (-3, 0))
        self.assertIsInstance(caught.exception, ValueError)
        for nonsense in (0, -1, math.nan, math.inf):
            with self.assertRaises(deadpeer.PolicyError):
                deadpeer.apply(self.client, detect=nonsense)
        with open(os.devnull, "rb") as file, self.assertRaises(deadpeer.SocketError) as caught:
            deadpeer.apply(file)
        self.assertEqual((caught.exception.status, caught.exception.errno), (-2, errno.ENOTSOCK))
        self.assertIsInstance(caught.exception, OSError)
        with self.assertRaises(TypeError):
            deadpeer.diagnose("127.0.0.1:80")
        self.client.close()
        with self.assertRaisesRegex(deadpeer.Error, "-1 is no socket"):
            deadpeer.diagnose(self.client)

    def test_diagnose(self):
        rest = deadpeer.diagnose(self.client)
        self.assertEqual((rest.verdict, rest.cause, rest.state), ("alive", "heard", "established"))
        self.assertEqual((rest.idle.least, rest.lost), (math.inf, None))
        self.assertTrue(rest.writable and not rest.readable and not rest.end_of_file)
        self.server.sendall(b"hello")
        select.select([self.client], [], [], 5)
        self.assertEqual(deadpeer.diagnose(self.client.fileno()).unread, 5)
        self.server.close()
        self.assertEqual(deadpeer.lost(self.client, 5).cause, "closed")
        # Closed a moment ago: the program here has had no time to do the same.
        self.assertEqual(deadpeer.diagnose(self.client).verdict, "alive")

    def test_a_pending_error_is_not_swallowed(self):
        reset(self.server)
        seen = deadpeer.diagnose(self.client)
        self.assertEqual(seen.pending_errno, errno.ECONNRESET)
        self.assertEqual((seen.lost.cause, seen.lost.errno), ("reset", errno.ECONNRESET))
        self.assertEqual(str(seen.lost), "the peer reset the connection")

    def test_explain(self):
        reset(self.server)
        with self.assertRaises(ConnectionResetError) as caught:
            self.client.recv(1)
        self.assertEqual(deadpeer.explain(self.client, caught.exception).cause, "reset")
        self.assertIsNone(deadpeer.explain(self.client, errno.EAGAIN))
        # A timeout of Python's own has no number.
        self.assertIsNone(deadpeer.explain(self.client, socket.timeout("timed out")))

    def test_lost_waits_and_lets_other_threads_run(self):
        started = time.monotonic()
        self.assertIsNone(deadpeer.lost(self.client, 0.7))
        self.assertGreaterEqual(time.monotonic() - started, 0.69)
        timer = threading.Timer(0.2, self.server.close)
        timer.start()
        self.assertEqual(deadpeer.lost(self.client, None).cause, "closed")
        timer.join()


    def test_over_waits_for_more_than_a_half_close(self):
        self.client.shutdown(socket.SHUT_WR)
        self.assertEqual(deadpeer.lost(self.server, 5).cause, "closed")
        self.assertIsNone(deadpeer.over(self.server, 0.1))
        self.client.close()
        self.server.sendall(b"answer")  # nobody reads it: RST
        self.assertEqual(deadpeer.over(self.server, 5).cause, "reset")

    def test_a_cause_that_was_read_is_not_known_any_more(self):
        reset(self.server)
        with self.assertRaises(ConnectionResetError):
            self.client.recv(1)
        self.assertEqual(deadpeer.lost(self.client, 5).cause, "ended")
        with socket.socket() as fresh:
            self.assertEqual(deadpeer.lost(fresh, 5).cause, "never-connected")


class Asyncio(unittest.IsolatedAsyncioTestCase):
    async def test_streams_and_transports(self):
        def serve(_reader, writer):
            applied.append(deadpeer.apply(writer, detect=30))

        applied = []
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        deadpeer.apply(writer, detect=15)
        deadpeer.apply(writer.transport, detect=15)
        self.assertEqual(deadpeer.diagnose(writer).verdict, "alive")
        self.assertIsNone(await asyncio.to_thread(deadpeer.lost, writer, 0.05))
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        self.assertEqual(len(applied), 1)
        with self.assertRaises(deadpeer.Error):
            deadpeer.diagnose(writer)

    async def test_connection_lost_can_explain(self):
        told = asyncio.get_running_loop().create_future()

        class Client(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport = transport

            def connection_lost(self, error):
                told.set_result(deadpeer.explain(self.transport, error))

        with socket.create_server(("127.0.0.1", 0)) as listener:
            await asyncio.get_running_loop().create_connection(Client, *listener.getsockname())
            reset(listener.accept()[0])
        self.assertEqual((await asyncio.wait_for(told, 5)).cause, "reset")


@unittest.skipUnless("DEADPEER_HEADER" in os.environ, "the header is not here")
class Header(unittest.TestCase):
    """The structures here are the header's: names, order, and sizes."""

    CTYPES = {
        "size_t": ctypes.c_size_t,
        "int64_t": ctypes.c_int64,
        "uint64_t": ctypes.c_uint64,
        "int": ctypes.c_int,
        "enum": ctypes.c_int,
    }

    def test_structures(self):
        header = pathlib.Path(os.environ["DEADPEER_HEADER"]).read_text()
        for name, here in {
            "goals": _library.Goals,
            "range": _library.Range,
            "gap": _library.Gap,
            "applied": _library.Applied,
            "peer_lost": _library.PeerLost,
            "diagnosis": _library.Diagnosis,
        }.items():
            body = re.search(rf"typedef struct deadpeer_{name} {{(.*?)\n}}", header, re.S).group(1)
            fields = re.findall(r"^  (?:(enum|struct) )?(\w+) (\w+)(\[\w+\])?;$", body, re.M)
            self.assertEqual([field[2] for field in fields], [field[0] for field in here._fields_], name)
            for (kind, base, field, many), (_, ctype) in zip(fields, here._fields_):
                with self.subTest(structure=name, field=field):
                    if base == "char":
                        self.assertEqual(ctypes.sizeof(ctype), int(many[1:-1]))
                    elif not many and (kind != "struct"):
                        self.assertIs(ctype, self.CTYPES[kind or base])

    def test_the_library_fills_them_whole(self):
        seen = _library.sized(_library.Applied)
        goals = _library.sized(_library.Goals)
        goals.detect_ms = 30000
        policy = _library.library.deadpeer_policy_new(_library.byref(goals))
        client, server = pair()
        with client, server:
            self.assertEqual(_library.library.deadpeer_apply(client.fileno(), policy, _library.byref(seen)), 0)
        _library.library.deadpeer_policy_free(policy)
        self.assertEqual(seen.size, ctypes.sizeof(_library.Applied))


if __name__ == "__main__":
    unittest.main()
