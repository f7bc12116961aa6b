"""Exotel on the simulated network: flows of applets, streams of PCM, and strict rules for what comes back.

A call is placed like any other; ``url`` is the application's origin (the Voicebot is then at
its ``/exotel``), the Voicebot's own ``ws://`` or ``wss://`` URL, or an ``http(s)://`` URL with a
path that answers ``{"url": ...}``::

    report = network.place_call(
        CallSpec(
            url="http://127.0.0.1:5001",
            carrier="exotel",
            sample_rate_hz=16000,  # 8000, 16000, 24000: put on the URL as ?sample-rate=
            spelling="camel",  # or "snake"
            api_key="...", api_token="...",  # HTTP Basic for the socket, the URL and the Passthrus
            parameters={"lang": "en"},  # the applet's own, echoed in start.custom_parameters
            script=Script(...), seconds=30,  # as for every carrier
            flow=Flow(voicebots=3, transfers=("sales", ""), shape="form"),  # see spec.Flow
            dials={"sales": DialOutcome("answered", 1.0, 5.0)},  # what Connect comes to, by name
            faults=Faults(break_at_ms=4000),  # the first stream is reset, the flow goes on
        )
    )

In the system tests: ``office.place(url=office.app.url, carrier="exotel", ...)``.

The report is the same for all carriers. What is Exotel's own: ``violations`` ({rule: how
often}; each is a problem too, so ``failed``), ``ahead_ms``, ``underruns``; ``webhooks`` holds each
Passthru (``url`` with ``?ask=``, ``status``, ``parameters``), ``dialled`` and ``dials`` the Connects,
``recordings`` the Voicemail, ``stereo`` and ``sample_rate_hz`` the sound as PCM at the line's rate.
``call.streams[-1].rules`` and ``call.line.playout.audio`` (PCM) can be looked at while it goes on.
"""
