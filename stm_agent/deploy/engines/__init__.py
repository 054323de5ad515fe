"""Vector stores that ``stm-agent index`` writes to."""
