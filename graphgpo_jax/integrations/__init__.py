"""Graph credit inside other frameworks; a folder each, an extra each."""
