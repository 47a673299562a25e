"""Photos like a photo: how alike they are, and which are nearest, exactly or by an index."""
