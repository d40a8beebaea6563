"""How work is done in pieces, here or by actors of Ray; and a log cleaned that does not fit into memory, in buckets."""
