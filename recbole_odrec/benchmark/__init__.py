"""Speed, memory and size, measured; results go to `results/`."""
