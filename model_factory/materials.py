"""What several stages need and only some runs load: images, model space, supernet, study. Each is made on first use."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from model_factory.base.errors import SpaceError
from model_factory.console import Console
from model_factory.run import Run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from device_profiles.costs import Workloads
    from supernet.data.types import LabelledImages, Splits
    from supernet.examples import Examples, Inputs
    from supernet.images import Normalisation
    from supernet.model_space import ModelSpace
    from supernet.space import SubnetConfig
    from supernet.supernet import Supernet
    from supernet.training_config import AugmentConfig


class Materials:
    """The loaded things of one run.

    Args:
        run: which.
        console: told of what takes long.
        classes: number of classes, where it is known without loading the images.
    """

    def __init__(self, run: Run, console: Console, classes: int | None = None) -> None:
        import torch

        from supernet.memory import keep_freed_memory

        keep_freed_memory()
        torch.set_num_threads(run.config.threads)
        self._run, self._console, self._classes = run, console, classes

    @cached_property
    def splits(self) -> Splits:
        """Training, held-out and test images. Raises `DataError`, `ConfigError`."""
        from supernet.data.sources import load_splits

        with self._console.stage("read images") as progress:
            return load_splits(self._run.config.data, self._run.config_folder, self._run.config.seed, progress)

    @cached_property
    def model_space(self) -> ModelSpace:
        """The model space of the config. Raises `ConfigError`, `SpaceError`."""
        from supernet.spaces import make_model_space

        config = self._run.config.model
        made = make_model_space(config, self._classes or len(self.splits.class_names), self._run.config_folder)
        shape = made.input_shape(made.space.largest)
        if len(shape) != 3 or shape[0] != 3 or shape[1] != shape[2]:
            raise SpaceError(f"{config.space}: takes inputs of shape {shape}, but a build gives images (3, size, size)")
        return made

    @cached_property
    def workloads(self) -> Workloads:
        """Workloads of the model space."""
        from device_profiles.costs import Workloads

        return Workloads(self.model_space)

    @cached_property
    def supernet(self) -> Supernet:
        """The trained supernet. Raises `CheckpointError`."""
        from supernet.checkpoint import load_supernet

        return load_supernet(self._run.checkpoint, self.model_space)

    @cached_property
    def normalisation(self) -> Normalisation:
        """Of the training images."""
        from supernet.images import Normalisation

        return Normalisation(mean=self.splits.mean, std=self.splits.std)

    def examples(self, part: LabelledImages, augmentation: AugmentConfig | None = None) -> Examples:
        """`part` for training (with `augmentation`) or evaluation (without)."""
        import torch

        from supernet.images import ImageExamples

        return ImageExamples(
            images=torch.from_numpy(part.images),
            labels=torch.from_numpy(part.labels),
            normalisation=self.normalisation,
            augmentation=augmentation,
        )

    @cached_property
    def calibration_rows(self) -> Tensor:
        """int64 (n,): training images for recalibration, a seeded draw, the same for every subnet."""
        import torch

        generator = torch.Generator().manual_seed(self._run.config.seed)
        rows = torch.randperm(len(self.splits.train), generator=generator)
        return rows[: self._run.config.search.calibration_images]

    def calibrated(self, subnet: SubnetConfig, supernet: Supernet | None = None) -> nn.Module:
        """The extracted subnet with recalibrated batch normalisation, in evaluation mode."""
        from supernet.evaluation import recalibrate
        from supernet.examples import ExampleInputs

        shape = self.model_space.input_shape(subnet)
        images = ExampleInputs(self.examples(self.splits.train), shape, self.calibration_rows)
        return recalibrate((supernet or self.supernet).extract(subnet), images)

    def heldout_accuracy(self, subnet: SubnetConfig, supernet: Supernet | None = None) -> float:
        """Share of the held-out images that the subnet labels right, in [0, 1]."""
        from supernet.evaluation import accuracy
        from supernet.examples import ExampleInputs

        heldout = self.examples(self.splits.heldout)
        images = ExampleInputs(heldout, self.model_space.input_shape(subnet))
        return accuracy(self.calibrated(subnet, supernet), images, heldout.labels)

    def inputs(self, part: LabelledImages, subnet: SubnetConfig) -> ModelInputs:
        """The images of `part` as the subnet's inputs, made slice by slice."""
        from supernet.examples import ExampleInputs

        return ModelInputs(ExampleInputs(self.examples(part), self.model_space.input_shape(subnet)))


class ModelInputs:
    """Images as float32 model inputs (n, 3, resolution, resolution) in NumPy, made when a slice is asked for."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs

    def __len__(self) -> int:
        return len(self._inputs)

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        return self._inputs[rows].contiguous().numpy()
