"""One file per carrier: what it says on the wire, and what it wants to hear."""

#: By the names that calls have in the history; a carrier of your own has its own.
BUILT_IN = ("twilio", "exotel", "browser")
