"""The durable tree: parts, finished models, and the rules by which a part becomes a model."""
