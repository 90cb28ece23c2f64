"""Item tables in the graph: each registers its own with `part_graphs.table_graph`."""
