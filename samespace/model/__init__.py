"""Networks that see photos: the backbone, the twin network on it, and the model that people take away."""
