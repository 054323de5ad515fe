"""Public fakes that the engine's own tests use, for tests of your own."""
