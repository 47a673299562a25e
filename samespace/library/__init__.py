"""What is known of the photos below a folder, and the scan that finds it out."""
