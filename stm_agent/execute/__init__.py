"""Where jobs run: one Protocol, plain implementations, and the folder store they share."""
