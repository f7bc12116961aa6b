"""An OpenAI-compatible speech server for this machine: a stand-in, with no account and no network."""
