"""One file per carrier: what it says on the wire, and what it wants to hear."""
