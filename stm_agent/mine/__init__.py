"""Hard negatives that are in the corpus: BM25, dense, and a filter against false negatives."""
