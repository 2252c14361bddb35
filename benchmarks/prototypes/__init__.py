"""Two loops in one thread, from the event to the write: what decision 15 was measured with."""
