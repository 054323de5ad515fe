"""The retrieval instruction: the text in front of a query, searched on dev nDCG@10."""
