"""Sentences and photos: captions read from files, their words as numbers, and what is good among both."""
