"""A decoder as an encoder: loading, pooling, attention, packed batches and checks."""
