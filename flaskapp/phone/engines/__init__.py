"""One file per way of reaching an AI engine."""
