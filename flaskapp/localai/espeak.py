"""The espeak-ng library, called through ctypes: text in, 16-bit PCM out.

The library and its data come as the wheel ``espeakng-loader``. It keeps one
state per process and is not thread-safe: one thread of one process calls it.
Source: espeak-ng's ``speak_lib.h``.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

_SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: speak into the callback, return when done
_DO_NOT_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT: report failures, do not end the process
_BUFFER_MS = 200
_UTF8 = 1
_RATE, _PITCH = 1, 3  # espeak_PARAMETER
_OK = 0

_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class EspeakError(RuntimeError):
    """espeak-ng could not be started, or refused a voice or a text."""


class Espeak:
    """One started espeak-ng; ``rate_hz`` is the rate of what it speaks (22050)."""

    def __init__(self) -> None:
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._library.espeak_Synth.argtypes = [
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int,
            ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip
        data = espeakng_loader.get_data_path().encode()
        self.rate_hz = int(self._library.espeak_Initialize(_SYNCHRONOUS, _BUFFER_MS, data, _DO_NOT_EXIT))
        if self.rate_hz <= 0:
            raise EspeakError(f"espeak-ng did not start with its data in {data.decode()}")
        self._pieces: list[bytes] = []
        self._callback = _CALLBACK(self._collect())  # kept: C holds no reference to it
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, voice: str = "en-us", words_per_minute: int = 165, pitch: int = 50) -> bytes:
        """The text as mono 16-bit PCM at ``rate_hz``.

        ``voice`` is espeak-ng's name, such as ``en-us+f3``; ``pitch`` is 0 to 99.

        Raises:
            EspeakError: no such voice, or the text was refused.
        """
        if self._library.espeak_SetVoiceByName(voice.encode()) != _OK:
            raise EspeakError(f"espeak-ng has no voice {voice!r}")
        self._library.espeak_SetParameter(_RATE, words_per_minute, 0)
        self._library.espeak_SetParameter(_PITCH, pitch, 0)
        self._pieces.clear()
        encoded = text.encode() + b"\0"
        if self._library.espeak_Synth(encoded, len(encoded), 0, 0, 0, _UTF8, None, None) != _OK:
            raise EspeakError(f"espeak-ng could not speak {len(text)} characters")
        return b"".join(self._pieces)

    def _collect(self) -> Callable[[ctypes._Pointer[ctypes.c_short] | None, int, int], int]:
        def take(samples: ctypes._Pointer[ctypes.c_short] | None, count: int, _events: int) -> int:
            if samples and count > 0:
                self._pieces.append(ctypes.string_at(samples, count * 2))
            return 0  # go on

        return take
