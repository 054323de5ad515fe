"""Actions: what a run can do next, each a lever tried once with typed parameters and a price."""
