"""Photos and sentences: matchers that search by words, and captioners that write them."""
