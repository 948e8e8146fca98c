"""Releases of engines in Pythons of their own: the way there, and what calls each."""
