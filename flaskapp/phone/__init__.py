"""The phone: carriers in, engines out, and the call between them."""
