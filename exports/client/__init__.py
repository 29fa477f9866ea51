"""What an app copies, one folder per language."""
