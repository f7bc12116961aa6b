"""Call audio on disk: both sides in their places, whole after any loss, unreadable without its key."""

from __future__ import annotations

import io
import os
import wave

import pytest

from flaskapp.phone.audio import mulaw_to_pcm16, pcm16_to_mulaw
from flaskapp.phone.errors import SealError
from flaskapp.store.audio_parts import AGENT, CALLER, Piece, split, try_out
from flaskapp.store.call_audio import CallAudio
from flaskapp.store.sealing import Seal, new_key, seal_of

LOUD = pcm16_to_mulaw((20_000).to_bytes(2, "little"))
SOFT = pcm16_to_mulaw((2000).to_bytes(2, "little"))
SETTLED_S = 30.0


def sound(mulaw: bytes, ms: int) -> bytes:
    return mulaw * (8 * ms)


@pytest.fixture(params=["plain", "sealed"])
def kept(request, tmp_path) -> CallAudio:
    return CallAudio(tmp_path / "audio", Seal([new_key()] if request.param == "sealed" else []))


@pytest.fixture
def sealed(tmp_path) -> CallAudio:
    return CallAudio(tmp_path / "audio", Seal([new_key()]))


def keep(audio: CallAudio, *pieces: Piece, call_sid: str = "CA1", part: str = "a") -> None:
    audio.keep(call_sid, part, pieces)
    assert audio.settle(SETTLED_S)


def tracks(audio: CallAudio, call_sid: str = "CA1") -> tuple[bytes, bytes]:
    """Left and right, as any reader of WAV files finds them."""
    with wave.open(io.BytesIO(audio.open(call_sid).read())) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, 8000)
        pcm = file.readframes(file.getnframes())
    left, right = (b"".join(pcm[at : at + 2] for at in range(side, len(pcm), 4)) for side in (0, 2))
    return left, right


def at_ms(track: bytes, ms: int) -> bytes:
    return track[ms * 16 : ms * 16 + 2]


def test_each_side_stands_where_it_was_heard(kept):
    keep(kept, *split(CALLER, 0, sound(SOFT, 2500)), Piece(AGENT, 1000, sound(LOUD, 500)))
    left, right = tracks(kept)
    assert kept.duration_ms("CA1") == 2500
    assert left == mulaw_to_pcm16(sound(SOFT, 2500))
    assert [at_ms(right, ms) for ms in (999, 1000, 1499, 1500)] == [
        bytes(2), *[mulaw_to_pcm16(LOUD)] * 2, bytes(2)
    ]  # fmt: skip


def test_legs_of_several_workers_are_one_call(kept, tmp_path):
    other = CallAudio(kept.folder, kept._seal)
    keep(kept, Piece(CALLER, 0, sound(SOFT, 1000)), part="one")
    keep(other, Piece(CALLER, 3000, sound(LOUD, 1000)), part="two")
    keep(kept, Piece(CALLER, 1000, sound(SOFT, 500)), part="one")
    left, _ = tracks(kept)
    assert [at_ms(left, ms) for ms in (0, 1400, 2000, 3000, 3999)] == [
        *[mulaw_to_pcm16(SOFT)] * 2, bytes(2), *[mulaw_to_pcm16(LOUD)] * 2
    ]  # fmt: skip


def test_a_piece_that_nobody_split_is_refused_where_it_comes_in(kept):
    whole = Piece(CALLER, 0, sound(SOFT, 1001))
    for keep_it in (kept.keep, kept.place):
        with pytest.raises(ValueError, match="split"):
            keep_it("CA1", "a", [whole])
    assert kept.open("CA1") is None
    keep(kept, *split(*whole))
    assert kept.duration_ms("CA1") == 1001


def test_a_running_call_gives_what_is_there(kept):
    keep(kept, Piece(CALLER, 0, sound(SOFT, 1000)))
    before = kept.open("CA1")
    keep(kept, Piece(CALLER, 1000, sound(SOFT, 1000)))
    assert (before.duration_ms, kept.open("CA1").duration_ms) == (1000, 2000)
    assert len(before.read()) == before.size


def test_it_is_read_from_anywhere_as_it_is_read_whole(kept):
    noise = bytes(range(256)) * 100
    keep(kept, *split(CALLER, 40, noise), *split(AGENT, 1333, noise[::-1]))
    whole = kept.open("CA1").read()
    part = kept.open("CA1")
    for begin, size in ((0, 10), (40, 10), (43, 3), (44, 1), (47, 20_001), (len(whole) - 5, 50)):
        part.seek(begin)
        assert part.read(size) == whole[begin : begin + size]
    assert b"".join(kept.open("CA1")) == whole
    assert part.seek(0, io.SEEK_END) == part.size == len(whole)
    assert part.read(1) == b""


def test_its_peaks_tell_who_spoke_when(kept):
    keep(kept, *split(CALLER, 0, sound(SOFT, 2000)), Piece(AGENT, 1000, sound(LOUD, 500)))
    peaks = kept.peaks("CA1")
    assert len(peaks) == 2000 // 50
    assert all(caller == pytest.approx(2000 / 32768, abs=0.005) for caller, _ in peaks)
    assert [agent > 0.5 for _, agent in peaks] == [20 <= at < 30 for at in range(40)]


def test_of_an_hour_there_are_no_more_peaks_than_a_screen_shows(kept):
    keep(kept, Piece(CALLER, 0, sound(LOUD, 100)), Piece(CALLER, 3_599_900, sound(LOUD, 100)))
    peaks = kept.peaks("CA1")
    assert len(peaks) <= 1200
    assert peaks[0][0] > 0.5 < peaks[-1][0]
    assert max(caller for caller, _ in peaks[1:-1]) == 0.0


@pytest.mark.parametrize("call_sid", ["CA2", "", "../CA1", "a/b", ".", "x" * 65])
def test_of_a_call_that_was_not_kept_there_is_nothing(kept, call_sid):
    keep(kept, Piece(CALLER, 0, sound(SOFT, 100)))
    kept.keep(call_sid, "a", ())
    assert kept.open(call_sid) is kept.peaks(call_sid) is kept.duration_ms(call_sid) is None
    assert kept.delete(call_sid) == 0
    assert kept.open("CA1") is not None


def test_a_name_that_is_none_makes_no_folder(kept):
    keep(kept, Piece(CALLER, 0, sound(SOFT, 100)), call_sid="../out")
    assert not kept.folder.exists()
    assert not (kept.folder.parent / "out").exists()


def test_a_part_whose_writer_was_killed_is_whole_up_to_there(kept):
    keep(kept, *split(CALLER, 0, sound(SOFT, 2000)))
    (part,) = kept.folder.glob("CA1/*")
    whole = part.read_bytes()
    part.write_bytes(whole[:-100])
    assert kept.open("CA1").duration_ms == 1000


def test_a_turn_that_is_placed_again_is_there_once(kept):
    for _ in range(2):
        kept.place("CA1", "turn-RE1", split(CALLER, 5000, sound(SOFT, 1500)))
    assert kept.open("CA1").duration_ms == 6500
    assert len(list(kept.folder.glob("CA1/*"))) == 1


def test_without_the_key_nobody_reads_it(sealed):
    keep(sealed, Piece(CALLER, 0, b"canary-" * 1000))
    (part,) = sealed.folder.glob("CA1/*")
    assert b"canary" not in part.read_bytes()
    for keys, told in ((), "DATA_KEY is not set"), ([new_key()], "none of the keys in DATA_KEY"):
        with pytest.raises(SealError, match=told):
            CallAudio(sealed.folder, Seal(keys)).open("CA1")


def test_a_new_key_in_front_reads_what_the_old_one_wrote(tmp_path):
    old, new = new_key(), new_key()
    keep(CallAudio(tmp_path, Seal([old])), Piece(CALLER, 0, sound(SOFT, 1000)), part="a")
    both = CallAudio(tmp_path, seal_of(f"{new}, {old}"))
    keep(both, Piece(CALLER, 1000, sound(SOFT, 1000)), part="b")
    assert tracks(both)[0] == mulaw_to_pcm16(sound(SOFT, 2000))
    with pytest.raises(SealError):
        CallAudio(tmp_path, Seal([new])).open("CA1")


def test_what_was_written_before_there_was_a_key_is_still_read(tmp_path):
    keep(CallAudio(tmp_path, Seal()), Piece(CALLER, 0, sound(SOFT, 1000)))
    assert CallAudio(tmp_path, Seal([new_key()])).open("CA1").duration_ms == 1000


def test_a_record_that_was_put_into_another_call_is_refused(sealed):
    keep(sealed, Piece(CALLER, 0, sound(SOFT, 1000)))
    (part,) = sealed.folder.glob("CA1/*")
    (sealed.folder / "CA2").mkdir()
    (sealed.folder / "CA2" / part.name).write_bytes(part.read_bytes())
    with pytest.raises(SealError):
        sealed.open("CA2")


def test_a_folder_is_tried_out_without_a_trace(tmp_path):
    (tmp_path / "there").mkdir()
    for name in ("there", "not/yet/there"):
        try_out(tmp_path / name)
    assert [str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*")] == ["there"]


@pytest.mark.parametrize("name", ["file", "file/audio", "nowhere", "nowhere/audio"])
def test_a_folder_that_can_hold_no_call_is_found_out(tmp_path, name):
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    with pytest.raises(OSError, match=r"Not a directory|No such file"):
        try_out(tmp_path / name)


def test_a_disk_that_takes_nothing_is_asked_again(kept):
    kept.folder.parent.mkdir(exist_ok=True)
    kept.folder.write_bytes(b"")  # no folder can be made there
    kept.keep("CA1", "a", [Piece(CALLER, 0, sound(SOFT, 1000))])
    assert not kept.settle(0.5)
    kept.folder.unlink()
    assert kept.settle(SETTLED_S)
    assert kept.open("CA1").duration_ms == 1000


def test_what_the_disk_never_takes_is_dropped_and_counted(tmp_path):
    lost = []
    audio = CallAudio(tmp_path / "audio", Seal(), lost.append)
    audio.folder.write_bytes(b"")
    for second in range(9000):
        audio.keep("CA1", str(second), [Piece(CALLER, second * 1000, sound(SOFT, 1000))])
    audio.settle(3.0)
    audio.settle(1.0)
    assert sum(lost) >= 9000 - (64 << 20) // 8000 - 1
    audio.folder.unlink()
    assert audio.settle(SETTLED_S)
    assert audio.open("CA1").duration_ms == 9_000_000


def test_what_comes_while_the_disk_hangs_is_dropped_and_counted(tmp_path):
    lost: list[int] = []
    audio = CallAudio(tmp_path, Seal(), lost.append)
    (tmp_path / "CA1").mkdir()
    os.mkfifo(tmp_path / "CA1" / "a.part")  # whoever writes into it waits for somebody who reads
    audio.keep("CA1", "a", [Piece(CALLER, 0, b"\xff")])
    audio.settle(3.0)
    pieces = split(CALLER, 0, bytes(10 << 20))
    for _ in range(20):
        audio.keep("CA2", "b", pieces)
    assert sum(lost) >= 6 * len(pieces)
    reader = os.open(tmp_path / "CA1" / "a.part", os.O_RDONLY | os.O_NONBLOCK)
    audio.settle(SETTLED_S)
    os.close(reader)


def test_only_its_owner_may_look(kept):
    keep(kept, Piece(CALLER, 0, sound(SOFT, 100)))
    (part,) = kept.folder.glob("CA1/*")
    assert (part.stat().st_mode & 0o777, part.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_deleted_is_deleted_and_only_that_call(kept):
    keep(kept, Piece(CALLER, 0, sound(SOFT, 1000)))
    keep(kept, Piece(CALLER, 0, sound(SOFT, 1000)), call_sid="CA2")
    size = kept.bytes_of("CA1")
    assert size > 8000
    assert [kept.delete("CA1"), kept.delete("CA1")] == [size, 0]
    assert kept.open("CA1") is None
    assert [call_sid for call_sid, _ in kept.calls()] == ["CA2"]
