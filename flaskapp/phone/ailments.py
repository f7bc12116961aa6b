"""What may go wrong in a call, in words: why it happens, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

TROUBLE = "docs/troubleshooting.md#"
LOG = "look for this call's id in the log"


@dataclass(frozen=True)
class Ailment:
    """One kind of fault.

    Attributes:
        what: what happened, as a sentence without its full stop.
        remedy: what to do about it; empty: nothing, it was survived.
        page: where more is said; empty: nowhere.
    """

    what: str
    remedy: str = ""
    page: str = ""


_ENGINE = TROUBLE + "the-engine-says-401-403-or-404"
_REFUSED = TROUBLE + "the-engine-refuses-the-session"
_RECORDINGS = TROUBLE + "recordings-are-not-fetched"

#: Faults, by the kind that events, metrics and endings have.
AILMENTS: Mapping[str, Ailment] = MappingProxyType(
    {
        "engine_unreachable": Ailment(
            "The AI engine could not be reached",
            "check its address and the network: flask phone doctor",
            _ENGINE,
        ),
        "engine_rejected": Ailment(
            "The AI engine refused the connection",
            "check its key, its address and the name of the model: flask phone doctor",
            _ENGINE,
        ),
        "engine_lost": Ailment("The AI engine's connection broke off"),
        "engine_slow": Ailment(
            "The AI engine did not answer in time", "see how it does: flask phone doctor", _ENGINE
        ),
        "engine_stalled": Ailment("The AI engine owed the caller an answer and gave none"),
        "engine_fault": Ailment("Something failed between us and the AI engine", LOG),
        "engine_error": Ailment("The AI engine complained of something that we sent", LOG, _REFUSED),
        "engine_malformed": Ailment("The AI engine sent what nobody could read", LOG),
        "engine_message": Ailment("One message of the AI engine's could not be read"),
        "engine_audio": Ailment("One piece of the AI engine's sound could not be read"),
        "engine_format": Ailment(
            "The AI engine speaks in another sound format than the carrier",
            "use a model that takes telephone sound (audio/pcmu)",
            _REFUSED,
        ),
        "engine_refused_session": Ailment(
            "The AI engine refused the session as we asked for it",
            "check the names of voice and transcription model",
            _REFUSED,
        ),
        "session_expired": Ailment("The AI engine ended the session because it was old"),
        "reply_failed": Ailment(
            "The AI engine began an answer and failed", "see the engine's own status page"
        ),
        "transcription_failed": Ailment(
            "The caller's words could not be written down",
            "check OPENAI_TRANSCRIBE_MODEL",
            TROUBLE + "the-transcript-is-empty",
        ),
        "tool_failed": Ailment("A function that the agent used failed", LOG, "docs/adding-a-tool.md"),
        "transfer_refused": Ailment(
            "The carrier did not take the transfer", f"check the agent's transfer_number; {LOG}"
        ),
        "transfer_failed": Ailment("Nobody took the transferred call"),
        "carrier_silent": Ailment("The carrier sent no more sound", "", TROUBLE + "no-sound-or-only-one-way"),
        "carrier_malformed": Ailment("The carrier sent what nobody could read", LOG),
        "carrier_message": Ailment("One message of the carrier's could not be read"),
        "carrier_audio": Ailment("One piece of the carrier's sound could not be read"),
        "unsupported_format": Ailment(
            "The carrier sent sound in a format that we do not know",
            "",
            TROUBLE + "garbled-sound-over-exotel",
        ),
        "flood": Ailment("The carrier sent sound faster than anybody speaks"),
        "no_start": Ailment("The carrier opened a stream and did not begin it"),
        "media_before_start": Ailment("The carrier sent sound before it began the stream"),
        "second_stream": Ailment("The carrier began a second stream in the first"),
        "wrong_call": Ailment("The carrier's stream was for another call"),
        "not_admitted": Ailment("The stream had no valid ticket"),
        "stream_broken": Ailment("The stream broke", "", TROUBLE + "twilio-reports-31920-or-31921"),
        "worker_lost": Ailment(
            "The worker that served the call was lost",
            "look in the log, and in the system's, for what killed it (memory?)",
            TROUBLE + "calls-are-cut-on-deploys",
        ),
        "carrier_lost": Ailment("The carrier's connection broke off"),
        "bridge_failed": Ailment("Our own part failed", LOG),
    }
)

#: What became of a recording that is not understood.
RECORDINGS: Mapping[str, Ailment] = MappingProxyType(
    {
        "claimed": Ailment("A recording is being understood"),
        "waiting": Ailment(
            "A recording waits for AI", "see how the engine does: flask phone doctor", _ENGINE
        ),
        "blocked_url": Ailment(
            "A recording was not fetched: its address is not the carrier's",
            "check TWILIO_API_BASE_URL and TWILIO_ACCOUNT_SID",
            _RECORDINGS,
        ),
        "absent": Ailment("A recording was not there", "", _RECORDINGS),
        "too_large": Ailment("A recording was larger than we take"),
        "not_audio": Ailment("What the carrier gave for a recording was no sound", "", _RECORDINGS),
        "failed": Ailment("A recording could not be understood", LOG, _RECORDINGS),
    }
)
