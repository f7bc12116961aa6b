"""A call's connection outlives the request that brought it, and keeps nothing of that."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref

import pytest
from flask import Flask
from flask_sock import Sock
from websockets.client import ClientProtocol
from websockets.protocol import State
from websockets.uri import parse_uri
from werkzeug.test import EnvironBuilder

from flaskapp.phone.server_socket import ServerSocket
from tests.phone.certificates import contexts
from tests.phone.wires import Peer, tcp_pair, tls_pair

WITHIN_S = 60
HEADERS = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


class Kept:
    """What a request holds."""


class House:
    """A view that leaves its socket to somebody who says hello, and waits at the gate."""

    def __init__(self, fails: bool = False, leaves: bool = True) -> None:
        self.gate, self.ended, self.fails, self.leaves = threading.Event(), threading.Event(), fails, leaves
        self.has_served = False
        self.app = Flask("house")
        Sock(self.app).route("/")(self._view)

    def _view(self, ws: ServerSocket) -> None:
        if self.leaves:
            ws.leave_to(self._serve, "CA1", self.ended.set)

    def _serve(self, wire) -> None:
        wire.send([b"hello"])
        if self.fails:
            raise RuntimeError("anything")
        assert self.gate.wait(WITHIN_S)
        self.has_served = True

    def asked(self, sock) -> weakref.ref:
        """As gunicorn asks, which closes the socket then; what the request held, if it is still there."""
        kept = Kept()
        environ = EnvironBuilder("/", headers=HEADERS).get_environ()
        environ |= {"gunicorn.socket": sock, "tests.kept": kept}
        with pytest.raises(StopIteration):  # how a view tells gunicorn that there is nothing to answer
            self.app(environ, None)
        sock.close()
        return weakref.ref(kept)


@contextlib.contextmanager
def connected(pair):
    """gunicorn's socket, and the peer's end."""
    with pair as (ours, theirs):
        peer = Peer(theirs, ClientProtocol(parse_uri("ws://localhost/"), state=State.OPEN))
        yield ours, peer


def has_accepted(peer: Peer) -> None:
    """Its 101 has come; frames follow."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += peer.sock.recv(1)
    assert head.startswith(b"HTTP/1.1 101 ")


def test_a_call_goes_on_when_its_request_is_over_and_keeps_nothing_of_it():
    house = House()
    with connected(tcp_pair()) as (ours, peer):
        kept = house.asked(ours)
        gc.collect()
        assert kept() is None
        has_accepted(peer)
        assert peer.reads(lambda peer: peer.texts, WITHIN_S) == [b"hello"]
        assert not house.ended.is_set()
        house.gate.set()
        assert peer.reads(lambda peer: peer.close_code, WITHIN_S) == 1000
        assert house.ended.wait(WITHIN_S)


def test_whatever_fails_ends_its_own_call_and_says_so(caplog):
    house = House(fails=True)
    with connected(tcp_pair()) as (ours, peer):
        house.asked(ours)
        has_accepted(peer)
        assert peer.reads(lambda peer: peer.close_code, WITHIN_S) == 1011
        assert house.ended.wait(WITHIN_S)
    assert [each.call_sid for each in caplog.records if each.exc_info] == ["CA1"]


def test_a_socket_that_nobody_was_left_is_closed_with_its_request():
    with connected(tcp_pair()) as (ours, peer):
        House(leaves=False).asked(ours)
        has_accepted(peer)
        assert peer.reads(lambda peer: peer.close_code, WITHIN_S) == 1000


def test_where_the_server_does_tls_itself_the_request_waits_for_the_end_of_the_call():
    house = House()
    with connected(tls_pair(*contexts())) as (ours, peer):
        asking = threading.Thread(target=house.asked, args=(ours,))
        asking.start()
        has_accepted(peer)
        assert peer.reads(lambda peer: peer.texts, WITHIN_S) == [b"hello"]
        assert asking.is_alive()
        house.gate.set()
        assert peer.reads(lambda peer: peer.close_code, WITHIN_S) == 1000
        asking.join(WITHIN_S)
        assert house.has_served
        assert house.ended.is_set()
