"""Sessions kept whole, prefixes made on the fly."""
