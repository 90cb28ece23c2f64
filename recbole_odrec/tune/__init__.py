"""`recbole-odrec tune`: a search over keys, on validation alone."""
