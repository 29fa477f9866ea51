"""The page on which a family shows itself: static files, and a server for them on this machine."""
