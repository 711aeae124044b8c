"""Where models come from: each source knows one kind of place and turns a ref into an artifact."""
