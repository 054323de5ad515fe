"""Public fakes: what the engine's own tests run on, for yours."""
