"""Records in: reading, decoding, pseudonyms, dead letters, repeats."""
