"""The page on which groups of duplicates are reviewed."""
