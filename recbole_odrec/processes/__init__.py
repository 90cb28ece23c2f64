"""Training over several processes of `torchrun`, on one machine or many: what they share, exchange and agree about.

Each process sees the same batches in the same order, draws the same random numbers and takes its share of the rows, or
fills it from row groups of its own where data are streamed; the sum of the gradients is that of one process. With one
process nothing in here does anything.
"""
