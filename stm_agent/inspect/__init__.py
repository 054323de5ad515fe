"""What people look at: lists of runs, reports, the Pareto front, search, and the state of the machine."""
