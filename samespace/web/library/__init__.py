"""The page that shows a library, scans it and draws its map."""
