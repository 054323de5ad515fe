"""Where jobs run: one Protocol, its implementations, and the store of stage folders they share."""
