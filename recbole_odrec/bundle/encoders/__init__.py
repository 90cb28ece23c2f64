"""Encoders in the graph: each registers its own with `part_graphs.encode`."""
