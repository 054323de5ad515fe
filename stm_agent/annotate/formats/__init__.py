"""Files in and out: TREC, BEIR, triplets, AIANO, and the project archive."""
