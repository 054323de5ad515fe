"""Scores that can be trusted: the fast scorer, mteb itself, baselines, vectors kept safely, significance."""
