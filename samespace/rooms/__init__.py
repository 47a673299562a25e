"""Rooms that are drawn by chance and described in words: data for the demo and the tests."""
