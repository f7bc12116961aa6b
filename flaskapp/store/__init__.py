"""Where things are kept: calls in progress, history, background work."""
