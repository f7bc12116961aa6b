"""``flask phone dial`` and ``load`` by Exotel, as a person types them, in processes of their own."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from flaskapp.phone import audio
from flaskapp.simulator.orders import Order
from tests.simulator.cli_app import create_app
from tests.simulator.exotel_bridge import ExotelBridge, Leg, pcm
from tests.simulator.test_phone_commands import Result, phone, wav  # noqa: F401 - a fixture


async def answering(leg: Leg) -> int:
    """Greets, and answers the caller's first words."""
    await leg.until("start")
    await leg.play(pcm(0.2, 300, leg.rate_hz))
    spoke = False
    while True:
        sound = base64.b64decode((await leg.until("media"))["media"]["payload"])
        if spoke and not any(sound):
            break
        spoke = spoke or any(sound)
    await leg.play(pcm(0.3, 400, leg.rate_hz))
    await leg.send("mark", mark={"name": "said"})
    await leg.until("mark")
    return 1000


async def against_the_rules(leg: Leg) -> int:
    await leg.until("start")
    await leg.media(pcm(0.4, 300, leg.rate_hz)[:3300])
    await leg.play(pcm(0.3, 300, leg.rate_hz))
    await leg.until("media")
    return 1000


@dataclass(frozen=True)
class Typed:
    """What five commands left behind that were typed at the same time."""

    dialled: Result
    broken: Result
    unknown: Result
    loaded: Result
    spoilt: Result
    out: Path
    bridges: tuple[ExotelBridge, ...]


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory, wav: str) -> Typed:  # noqa: F811
    out = tmp_path_factory.mktemp("exotel") / "out"
    exotel = ("--carrier", "exotel", "--wav", wav)
    load = ("load", *exotel, "--calls", "3", "--seconds", "15", "--json")

    async def type_them() -> Typed:
        async with (
            ExotelBridge() as one,
            ExotelBridge() as two,
            ExotelBridge() as three,
            ExotelBridge() as four,
        ):
            one.talk = three.talk = answering
            two.talk = four.talk = against_the_rules
            wide = ("--sample-rate", "16000", "--spelling", "camel", "--out", str(out))
            results = await asyncio.gather(
                phone("dial", one.url, *exotel, *wide, STUB_KEY="key", STUB_SECRET="s3cret"),
                phone("dial", two.url, *exotel, "--key", "mine", "--token", "own", "--json"),
                phone("dial", "http://127.0.0.1:9", *exotel, "--seconds", "3"),
                phone(*load, three.url, "--sample-rate", "24000"),
                phone(*load, four.url.replace("http", "ws", 1) + "/exotel"),
            )
            return Typed(*results, out=out, bridges=(one, two, three, four))

    return asyncio.run(type_them())


def basic(userinfo: str) -> str:
    return "Basic " + base64.b64encode(userinfo.encode()).decode()


def test_dial_streams_to_the_applications_exotel_by_the_configured_key(typed: Typed):
    (leg,) = typed.bridges[0].legs
    assert (typed.dialled.code, typed.dialled.err) == (0, "")
    assert leg.headers["Authorization"] == basic("key:s3cret")
    assert leg.query == {"sample-rate": "16000"}
    assert "streamSid" in leg.received[1]
    assert "rules broken: none" in typed.dialled.out
    assert "the flow asks: over? yes" in typed.dialled.out
    assert "s3cret" not in typed.dialled.out


def test_dial_writes_the_call_down_at_its_own_rate(typed: Typed):
    report = json.loads((typed.out / "report.json").read_text())
    sound = audio.read_wav((typed.out / "call.wav").read_bytes())
    assert (report["sample_rate_hz"], sound.rate_hz) == (16000, 16000)
    assert sound.duration_ms > 500
    assert report["turns"][0]["latency_ms"] > 0
    assert (typed.out / "transcript.json").exists()
    assert "s3cret" not in (typed.out / "report.json").read_text()


def test_a_broken_rule_fails_the_call_and_is_named(typed: Typed):
    report = json.loads(typed.broken.out)
    assert typed.broken.code == 1
    assert report["violations"]["size"] == 1
    assert "media of 3300 bytes" in typed.broken.err
    assert typed.bridges[1].legs[0].headers["Authorization"] == basic("mine:own")


def test_dial_names_a_server_that_does_not_run(typed: Typed):
    assert typed.unknown.code == 1
    assert "Connection refused" in typed.unknown.err
    assert "make run" in typed.unknown.err


def test_load_sums_up_chunks_and_rules(typed: Typed):
    summary = json.loads(typed.loaded.out)
    assert (typed.loaded.code, summary["failed"], summary["calls"]) == (0, 0, 3)
    assert summary["violations"] == {}
    assert summary["received_bytes"] >= 3 * 24000
    assert summary["ahead_ms"]["n"] == 3
    spoilt = json.loads(typed.spoilt.out)
    assert (typed.spoilt.code, spoilt["failed"], spoilt["violations"]["size"]) == (1, 3, 3)


@pytest.mark.parametrize(
    "arguments",
    [
        ["dial", "http://h", "--carrier", "exotel", "--sample-rate", "44100"],
        ["dial", "http://h", "--carrier", "exotel", "--spelling", "kebab"],
        ["dial", "http://h", "--carrier", "exotel", "--record-path"],
        ["dial", "ftp://h", "--carrier", "exotel"],
        ["load", "127.0.0.1:5001", "--carrier", "exotel"],
    ],
)
def test_a_wrong_question_ends_with_2(arguments: list[str]):
    result = create_app().test_cli_runner().invoke(args=["phone", *arguments])
    assert (result.exit_code, result.stdout) == (2, "")


def test_an_order_survives_its_way_to_the_other_process_and_hides_the_secret():
    order = Order("http://h", carrier="exotel", sample_rate_hz=24000, api_key="k", api_token="secret")
    assert Order.from_json(order.to_json()) == order
    assert "secret" not in repr(order)
    assert "secret" not in repr(order.specs())
