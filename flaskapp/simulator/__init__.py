"""A phone network on loopback: signed webhooks, media sockets, recordings and callers with a voice."""
