"""What a WebSocket endpoint must do with what it receives: a table written from RFC 6455.

The groups follow the order in which such endpoints are usually examined: framing,
pings, reserved bits, opcodes, fragmentation, UTF-8, closing. Each case is what a
peer sends and what the endpoint has to make of it: the messages that come out, the
pongs that go back, and the code with which the connection ends (None: it stays open).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


@dataclass(frozen=True)
class Sent:
    """One frame of the peer's."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0


@dataclass(frozen=True)
class Case:
    """``ends`` is the close code that the endpoint sends, ``told`` the one that its owner learns."""

    name: str
    sent: tuple[Sent, ...]
    messages: tuple[bytes, ...] = ()
    pongs: tuple[bytes, ...] = ()
    ends: int | None = None
    told: int | None = None


def close(code: int, reason: bytes = b"") -> Sent:
    return Sent(CLOSE, struct.pack("!H", code) + reason)


def pieces(data: bytes, size: int, opcode: int = TEXT) -> tuple[Sent, ...]:
    """One message in fragments of so many bytes."""
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    last = len(parts) - 1
    return tuple(Sent(CONT if at else opcode, part, at == last) for at, part in enumerate(parts))


def _framing() -> list[Case]:
    sizes = [0, 1, 125, 126, 127, 128, 65_535, 65_536]
    return [Case(f"1 text of {size} bytes", (Sent(TEXT, b"*" * size),), (b"*" * size,)) for size in sizes]


def _pings() -> list[Case]:
    odd = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"
    many = tuple(Sent(PING, b"ping %d" % number) for number in range(10))
    return [
        Case("2 empty ping", (Sent(PING),), pongs=(b"",)),
        Case("2 ping with words", (Sent(PING, b"Hello"),), pongs=(b"Hello",)),
        Case("2 ping with bytes", (Sent(PING, odd),), pongs=(odd,)),
        Case("2 longest ping", (Sent(PING, b"\xfe" * 125),), pongs=(b"\xfe" * 125,)),
        Case("2 ping too long", (Sent(PING, b"\xfe" * 126),), ends=1002),
        Case("2 pong nobody asked for", (Sent(PONG),)),
        Case("2 pong with words", (Sent(PONG, b"unasked"), Sent(PING, b"a")), pongs=(b"a",)),
        Case("2 pong too long", (Sent(PONG, b"x" * 126),), ends=1002),
        Case("2 ten pings", many, pongs=tuple(each.payload for each in many)),
    ]


def _reserved_bits() -> list[Case]:
    cases = [Case(f"3 rsv {rsv} on a text", (Sent(TEXT, b"x", rsv=rsv),), ends=1002) for rsv in range(1, 8)]
    cases += [
        Case(f"3 rsv on opcode {opcode}", (Sent(opcode, b"", rsv=4),), ends=1002)
        for opcode in (CLOSE, PING, PONG)
    ]
    after = (Sent(TEXT, b"good"), Sent(TEXT, b"bad", rsv=2), Sent(PING))
    return [*cases, Case("3 good text before a bad one", after, (b"good",), ends=1002)]


def _opcodes() -> list[Case]:
    unknown = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]
    cases = [Case(f"4 opcode {opcode}", (Sent(opcode),), ends=1002) for opcode in unknown]
    cases += [Case(f"4 opcode {opcode} with words", (Sent(opcode, b"x"),), ends=1002) for opcode in unknown]
    after = (Sent(TEXT, b"good"), Sent(3, b"x"), Sent(PING))
    return [*cases, Case("4 good text before an unknown opcode", after, (b"good",), ends=1002)]


def _fragments() -> list[Case]:
    one, two = Sent(TEXT, b"one", False), Sent(CONT, b"two")
    return [
        Case("5 fragmented ping", (Sent(PING, b"a", False), Sent(CONT, b"b")), ends=1002),
        Case("5 fragmented pong", (Sent(PONG, b"a", False), Sent(CONT, b"b")), ends=1002),
        Case("5 fragmented close", (Sent(CLOSE, b"", False), Sent(CONT)), ends=1002),
        Case("5 text in two", (one, two), (b"onetwo",)),
        Case("5 text in single bytes", pieces(b"fragment" * 9, 1), (b"fragment" * 9,)),
        Case("5 ping within a text", (one, Sent(PING, b"p"), two), (b"onetwo",), (b"p",)),
        Case("5 pong within a text", (one, Sent(PONG, b"p"), two), (b"onetwo",)),
        Case("5 only empty fragments", (Sent(TEXT, b"", False), Sent(CONT, b"", False), Sent(CONT)), (b"",)),
        Case("5 empty last fragment", (one, Sent(CONT)), (b"one",)),
        Case("5 continuation of nothing", (Sent(CONT, b"x"),), ends=1002),
        Case("5 unfinished continuation of nothing", (Sent(CONT, b"x", False), Sent(TEXT, b"y")), ends=1002),
        Case("5 continuation after a whole text", (Sent(TEXT, b"x"), two), (b"x",), ends=1002),
        Case("5 text within a text", (one, Sent(TEXT, b"other")), ends=1002),
        Case("5 binary within a text", (one, Sent(BINARY, b"other")), ends=1002),
        Case("5 two texts in pieces", (one, two, one, two), (b"onetwo", b"onetwo")),
        # The standard lets a control frame in here; the websockets package takes it for a broken message.
        Case("5 close within a text", (one, close(1000)), ends=1002, told=1000),
    ]


GOOD_TEXTS = {
    "the smallest of each length": b"\x00\xc2\x80\xe0\xa0\x80\xf0\x90\x80\x80",
    "the largest of each length": b"\x7f\xdf\xbf\xef\xbf\xbf\xf4\x8f\xbf\xbf",
    "around the surrogates": b"\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbd",
    "non-characters": b"\xef\xbf\xbe\xef\xbf\xbf\xf0\x9f\xbf\xbe",
    "many scripts": "Κόσμε привет 日本語 العربية 📞".encode(),
}
BAD_TEXTS = {
    "a lone continuation": b"\x80",
    "two continuations": b"\xbf\x80",
    "a lone lead byte": b"\xc3 ",
    "a sequence cut short": b"\xe2\x82",
    "a long sequence cut short": b"\xf0\x9f\x93",
    "a surrogate": b"\xed\xa0\x80",
    "a surrogate pair": b"\xed\xa0\x80\xed\xb0\x80",
    "an overlong slash": b"\xc0\xaf",
    "an overlong slash of three": b"\xe0\x80\xaf",
    "an overlong slash of four": b"\xf0\x80\x80\xaf",
    "an overlong nothing": b"\xc0\x80",
    "beyond the last plane": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "six bytes": b"\xfc\x84\x80\x80\x80\x80",
    "impossible bytes": b"\xfe\xfe\xff\xff",
    "good words before it": "Κόσμε".encode() + b"\xed\xa0\x80edited",
}


def _utf8() -> list[Case]:
    cases = [Case(f"6 {name}", (Sent(TEXT, text),), (text,)) for name, text in GOOD_TEXTS.items()]
    cases += [Case(f"6 {name}, byte by byte", pieces(text, 1), (text,)) for name, text in GOOD_TEXTS.items()]
    cases += [Case(f"6 {name}", (Sent(TEXT, text),), ends=1007) for name, text in BAD_TEXTS.items()]
    broken = {name: text for name, text in BAD_TEXTS.items() if len(text) > 1}
    return cases + [
        Case(f"6 {name}, byte by byte", pieces(text, 1), ends=1007) for name, text in broken.items()
    ]


def _closing() -> list[Case]:
    allowed = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
    forbidden = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535]
    cases = [Case(f"7 close {code}", (close(code, b"so"),), ends=code) for code in allowed]
    cases += [Case(f"7 forbidden close {code}", (close(code),), ends=1002, told=1002) for code in forbidden]
    cases += [
        Case("7 empty close", (Sent(CLOSE),), ends=1005),
        Case("7 half a code", (Sent(CLOSE, b"\x03"),), ends=1002),
        Case("7 longest reason", (close(1000, b"*" * 123),), ends=1000),
        Case("7 reason too long", (close(1000, b"*" * 124),), ends=1002),
        Case("7 reason that is not UTF-8", (close(1000, b"\xce\xba\xed\xa0\x80"),), ends=1007),
        Case("7 text before the close", (Sent(TEXT, b"x"), close(1000)), (b"x",), ends=1000),
        Case("7 text after the close", (close(1000), Sent(TEXT, b"x")), ends=1000),
        Case("7 ping after the close", (close(1000), Sent(PING, b"x")), ends=1000),
        Case("7 second close", (close(1000), close(1001)), ends=1000),
    ]
    return cases


CASES = [*_framing(), *_pings(), *_reserved_bits(), *_opcodes(), *_fragments(), *_utf8(), *_closing()]
