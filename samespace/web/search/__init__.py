"""The page that finds photos by a photo or by words."""
