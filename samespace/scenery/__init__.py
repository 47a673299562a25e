"""What a drawn room is made of: its plan, its furniture, surfaces, light, and the camera that sees it."""
