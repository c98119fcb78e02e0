"""Online: sources of samples, sinks for answers, and what must not be lost between them."""
