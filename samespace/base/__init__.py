"""What every other room stands on: photos, files, hashes, arrays, text, progress and errors."""
