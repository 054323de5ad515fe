"""What the generator writes: queries and hard negatives, with where each came from."""
