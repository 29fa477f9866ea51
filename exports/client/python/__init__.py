"""A client for apps in Python: the resolver, the preprocessing, and the launch. See README.md.

Importing the package imports nothing else, so that the resolver works without NumPy and an engine.
"""

__version__ = "0.1.0"
