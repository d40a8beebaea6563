"""Sequential recommenders and their alignment with semantic vectors."""
