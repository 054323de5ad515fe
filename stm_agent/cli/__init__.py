"""The command line: one file a noun; parses, calls and prints, nothing else."""
