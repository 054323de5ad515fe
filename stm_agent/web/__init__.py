"""What the servers of this package share: addresses, deadlines of connections, limits of bodies."""
