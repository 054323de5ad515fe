"""The closed loop: levers, gates, ledger and resume."""
