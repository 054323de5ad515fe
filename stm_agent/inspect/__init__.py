"""Look into a run: traces, reports, and its model at work."""
