"""Where a family keeps its files, whose names end with a digest of their contents."""

from pathlib import Path


def sample(folder: Path, index: int = 0) -> Path:
    """The sample image with that number."""
    return next(folder.glob(f"samples/{index:03}-*.png"))


def predictions(folder: Path, name: str) -> Path:
    """The predictions of the model of that name, or the test labels (`labels`)."""
    return next(folder.glob(f"evaluation/{name}-*.npy"))
