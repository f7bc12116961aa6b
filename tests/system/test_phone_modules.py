"""The browser phone's own arithmetic: sound, frames, playout, clocks, as a browser runs it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from flaskapp.dashboard.dress import STATIC
from flaskapp.phone import audio
from flaskapp.simulator.sounds import BUNDLED, FOLDER
from tests.browser import chromium

pytestmark = pytest.mark.system

Run = Callable[..., Any]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Runs an async function with a module of the phone's: ``run("mulaw.js", "(m, x) => ...", x)``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=STATIC))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with chromium() as browser:
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/icon.svg")

        def execute(module: str, code: str, argument: object = None) -> Any:
            wrapped = f"async ([module, x]) => ({code})(await import('/phone/' + module), x)"
            return page.evaluate(wrapped, [module, argument])

        yield execute
    server.shutdown()
    server.server_close()


def test_every_byte_of_mulaw_comes_back_as_itself(run: Run) -> None:
    again = run("mulaw.js", "m => [...m.encode(m.decode(Uint8Array.from({length: 256}, (_, b) => b)))]")
    assert [byte for at, byte in enumerate(again) if byte != at] == [0xFF], "both zeros are one"
    assert again.index(0xFF) == 0x7F


def test_the_browser_codes_sound_as_the_server_does(run: Run) -> None:
    pcm = [at * 37 - 32768 for at in range(1771)]
    theirs = run("mulaw.js", "(m, x) => [...m.encode(x.map(each => each / 32767))]", pcm)
    ours = audio.pcm16_to_mulaw(b"".join(each.to_bytes(2, "little", signed=True) for each in pcm))
    steps_apart = [abs((a ^ 0xFF) - (b ^ 0xFF)) for a, b in zip(theirs, ours, strict=True)]
    assert max(steps_apart) <= 1, "but for rounding"
    heard = run("mulaw.js", "m => [...m.decode(Uint8Array.from({length: 256}, (_, b) => b))]")
    server_heard = audio.mulaw_to_pcm16(bytes(range(256)))
    samples = [int.from_bytes(server_heard[at : at + 2], "little", signed=True) for at in range(0, 512, 2)]
    assert [round(each * 32768) for each in heard] == samples


def test_samples_leave_in_frames_of_twenty_milliseconds(run: Run) -> None:
    code = """m => {
        const f = new m.Framer(160);
        return [100, 100, 400, 39, 1].map(n => f.push(new Float32Array(n)).length) }"""
    assert run("playout.js", code) == [0, 1, 2, 0, 1]


def test_a_mark_is_reached_when_what_came_before_it_was_played(run: Run) -> None:
    code = """m => {
        const p = new m.Playout(), slice = new Float32Array(100), seen = [];
        p.mark("at once"); p.push(new Float32Array(150).fill(.5));
        p.mark("later"); p.push(new Float32Array(10).fill(.1));
        for (let n = 0; n < 3; n++) seen.push([p.fill(slice), slice[0], slice[55], slice[99]]);
        return seen }"""
    first, second, third = run("playout.js", code)
    assert first == [["at once"], 0.5, 0.5, 0.5]
    assert second == [["later"], 0.5, pytest.approx(0.1), 0]
    assert third == [[], 0, 0, 0]


def test_clear_empties_the_queue_and_gives_the_marks_back_in_order(run: Run) -> None:
    code = """m => {
        const p = new m.Playout(), slice = new Float32Array(10);
        p.push(new Float32Array(50).fill(1)); p.mark("a"); p.push(new Float32Array(50).fill(1)); p.mark("b");
        p.fill(slice);
        return [p.clear(), p.isEmpty, p.fill(slice), slice[0]] }"""
    assert run("playout.js", code) == [["a", "b"], True, [], 0]


def test_a_tone_keeps_its_pitch_and_loudness_at_other_rates(run: Run) -> None:
    code = """(m, [from, to]) => {
        const r = new m.Resampler(from, to), out = [], tone = t => Math.sin(2 * Math.PI * 440 * t / from);
        for (let n = 0; n < 40; n++)
            out.push(...r.push(Float32Array.from({length: 128}, (_, i) => tone(n * 128 + i))));
        const steady = out.slice(out.length / 4, -out.length / 4);
        const crossings = steady.filter((s, i) => i && s >= 0 && steady[i - 1] < 0).length;
        return [out.length, crossings / steady.length * to, Math.max(...steady)] }"""
    for rates in ((48_000, 8000), (44_100, 8000), (8000, 48_000), (8000, 8000)):
        count, pitch, peak = run("resampler.js", code, rates)
        assert count == pytest.approx(40 * 128 * rates[1] / rates[0], abs=40 * max(rates[1] / rates[0], 1))
        assert pitch == pytest.approx(440, rel=0.05)
        assert peak == pytest.approx(1, abs=0.05)


def test_what_the_telephone_cannot_carry_is_left_out_not_folded_back(run: Run) -> None:
    code = """m => {
        const r = new m.Resampler(48000, 8000), tone = t => Math.sin(2 * Math.PI * 6000 * t / 48000);
        const out = r.push(Float32Array.from({length: 9600}, (_, i) => tone(i)));
        return Math.max(...out.slice(100, -100).map(Math.abs)) }"""
    assert run("resampler.js", code) < 0.02


def test_a_turn_is_timed_from_the_last_voiced_frame_to_the_first_audible_sound(run: Run) -> None:
    code = """(m, scene) => {
        const c = new m.TurnClock(), waits = []; let t = 0;
        for (const [until, caller, agent] of scene) {
            if (caller === "clear") { c.cleared(t); continue }
            if (caller === "wrote") { c.wrote(t); continue }
            for (; t < until; t += .02) {
                c.caller(caller, t);
                const wait = c.agent(agent, t);
                if (wait !== null) waits.push(wait);
            }
        }
        return waits }"""
    scene = [
        *[[2, 0.001, 0.2], [3, 0.001, 0]],  # the greeting answers nobody
        *[[4, 0.2, 0], [5.2, 0.001, 0], [6, 0.001, 0.2], [6.1, 0.001, 0], [7, 0.001, 0.2]],  # 1.2 s, a breath
        *[[8, 0.001, 0], [8.04, 0.3, 0], [9, 0.001, 0], [10, 0.001, 0.2]],  # a click
        *[[10.4, 0.2, 0.2], [11, 0.001, 0.2], [11.5, 0.001, 0], [12, 0.001, 0.2]],  # talked over
        *[[12.2, 0.2, 0.2], [12.2, "clear", 0], [12.24, 0.2, 0.2], [13, 0.2, 0], [14, 0.001, 0]],  # cut short
        *[[15, 0.001, 0.2], [17, 0.001, 0], [17, "wrote", 0], [17.5, 0.001, 0], [18, 0.001, 0.2]],
    ]
    assert run("turn_clock.js", code, scene) == pytest.approx([1.2, 1.0, 0.5], abs=0.05)


def test_steady_noise_is_no_voice(run: Run) -> None:
    code = """m => {
        const c = new m.TurnClock(); let voiced = 0;
        for (let n = 0; n < 3000; n++) voiced += c.caller(.02, n / 50) ? 1 : 0;
        const before = voiced;
        for (let n = 0; n < 50; n++) voiced += c.caller(.15, 60 + n / 50) ? 1 : 0;
        return [before, voiced - before] }"""
    noise, voice = run("turn_clock.js", code)
    assert noise < 1000, "after some seconds the noise is known"
    assert voice == 50


def test_messages_are_those_of_a_media_stream(run: Run) -> None:
    code = """m => {
        const s = new m.Messages("CA1", "MZ1"), frame = new Uint8Array(160).fill(255);
        const said = [s.connected(), s.start(), s.media(frame), s.media(frame)];
        return [...said, s.dtmf("5"), s.mark("a"), s.text("hi"), s.stop()].map(each => JSON.parse(each)) }"""
    connected, start, first, second, key, mark, text, stop = run("messages.js", code)
    assert connected == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    assert (start["sequenceNumber"], start["start"]["callSid"]) == ("1", "CA1")
    assert start["start"]["mediaFormat"] == {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
    assert (first["media"]["chunk"], first["media"]["timestamp"]) == ("1", "0")
    assert (second["media"]["chunk"], second["media"]["timestamp"]) == ("2", "20")
    assert len(second["media"]["payload"]) == 216
    assert key["dtmf"] == {"track": "inbound_track", "digit": "5"}
    assert (mark["mark"], text["text"]) == ({"name": "a"}, {"body": "hi"})
    assert (stop["event"], stop["sequenceNumber"], stop["streamSid"]) == ("stop", "7", "MZ1")


def test_what_the_server_sends_is_read_and_anything_else_ignored(run: Run) -> None:
    sent = [
        '{"event":"media","media":{"payload":"//8="}}',
        '{"event":"mark","mark":{"name":"m1"}}',
        '{"event":"clear"}',
    ]
    odd = ["no json", "null", '{"event":"media"}', '{"event":"mark","mark":{"name":5}}', '{"event":"other"}']
    code = "(m, x) => x.map(m.read).map(r => r && ({...r, audio: r.audio && [...r.audio]}))"
    read = run("messages.js", code, [*sent, *odd])
    assert [{k: v for k, v in each.items() if v is not None} for each in read[:3]] == [
        {"audio": [255, 255]},
        {"mark": "m1"},
        {"clear": True},
    ]
    assert read[3:] == [None] * len(odd)


def test_the_sample_caller_says_what_the_simulated_one_does() -> None:
    theirs = [path.read_bytes() for path in sorted((STATIC / "phone" / "voices").glob("*.wav"))]
    assert theirs == [(FOLDER / f"{text.replace(' ', '-')}.wav").read_bytes() for text in BUNDLED]


def test_the_sample_caller_lets_the_agent_finish(run: Run) -> None:
    code = """async m => {
        const said = [], done = [];
        let now = 0;
        const speak = (what) => { said.push([what, now]); return new Promise(over => done.push(over)) };
        const s = new m.SampleCaller(["a", "b"], speak);
        const hears = async (level, until) => {
            for (; now < until; now += .1) { s.hears(level, now); await null }
        };
        await hears(0, 3); await hears(.2, 5); await hears(0, 8);   // the greeting, and a pause: "a"
        done.shift()(); await null; await null;
        await hears(0, 9); await hears(.2, 10); await hears(0, 12); // the answer, and a pause: "b"
        return said }"""
    (first, at), (second, later) = run("sample_caller.js", code)
    assert (first, second) == ("a", "b")
    assert 6 < at < 6.6
    assert 11 < later < 11.6
