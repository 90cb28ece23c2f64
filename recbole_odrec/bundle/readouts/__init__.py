"""Read-outs in the graph: each registers its own with `part_graphs.read_out`."""
