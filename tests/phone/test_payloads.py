"""Many payloads are decoded at once, and what is odd among them as it would be alone."""

from __future__ import annotations

import base64
import binascii
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaskapp.phone.payloads import BETWEEN, base64_size, decoded


def test_each_payload_is_what_it_is_alone():
    chance = random.Random(7)
    pieces = [chance.randbytes(size) for size in (160, 0, 1, 2, 3, 480, 3200) for _ in range(9)]
    assert decoded([base64.b64encode(piece) for piece in pieces]) == pieces
    assert decoded([]) == []


@pytest.mark.parametrize("odd", [b"QU\nJD", b'QUJD" , "QUJD', b"QUJD==", b'"', b"QU\\JD"])
def test_an_odd_one_is_read_as_it_would_be_alone(odd):
    try:
        alone = base64.b64decode(odd)
    except binascii.Error:
        with pytest.raises(binascii.Error):
            decoded([b"QUJD", odd])
    else:
        assert decoded([b"QUJD", odd]) == [b"ABC", alone]


def test_several_in_one_piece_are_read_as_if_they_were_not():
    pieces = [b"one", b"", b"three", b"fo", b"five!"]
    texts = [base64.b64encode(piece) for piece in pieces]
    assert decoded([texts[0], BETWEEN.join(texts[1:4]), texts[4]]) == pieces


@settings(derandomize=True, deadline=None)
@given(st.one_of(st.binary(max_size=400), st.binary(min_size=700, max_size=4000)))
def test_the_size_of_base64_is_known_without_keeping_it(data):
    assert base64_size(base64.b64encode(data)) == len(data)


@pytest.mark.parametrize(
    "wrong",
    [
        b"a",
        b"ab",
        b"abc",
        b"a===",
        b"ab==c",
        b"a b=",
        b"abc\n",
        b"ab-_",
        b"=",
        b'ab"=',
        b'ab","ab',
        b"ab\\/",
        b"\\u0041\\u0041AA",
    ],
)
@pytest.mark.parametrize("before", [b"", b"QUJD" * 400])
def test_what_is_not_base64_has_no_size(wrong, before):
    with pytest.raises(ValueError):  # noqa: PT011 - binascii's words are its own
        base64_size(before + wrong)
