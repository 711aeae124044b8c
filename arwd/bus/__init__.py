"""Facts, from whoever publishes them to whoever listens: one id space, one ring, a cursor for each subscriber."""
