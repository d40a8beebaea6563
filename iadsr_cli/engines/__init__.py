"""How work is done in pieces, here or by actors of Ray."""
