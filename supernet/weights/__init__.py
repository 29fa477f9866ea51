"""Starting from pretrained weights."""
