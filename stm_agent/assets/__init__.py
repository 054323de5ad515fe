"""Models and data that come with packages of the package index."""
