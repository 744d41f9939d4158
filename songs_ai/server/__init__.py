"""The server's edge: bodies read whole on the event loop, cached reads answered in batches, Django in threads."""
