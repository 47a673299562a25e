"""Synthetic rooms, furnished at random, drawn and described in words: data for the demo and the tests."""
