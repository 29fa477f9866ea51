"""What several stages share but a build without changes never loads: the data, the model space and the supernet."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from exports.family.judge import Judge
from factory_base.documents import shaping_values
from factory_base.errors import DataError, SpaceError
from factory_base.files import digest_of
from factory_base.progress import Progress
from model_factory.console import Console
from model_factory.run import Run
from model_factory.stages.cached import library_version, stage_key
from model_factory.stages.fingerprint import data_fingerprint, model_code, space_libraries
from model_factory.stages.texts import token_needs

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import nn

    from device_profiles.engine import InputType, ModelInput, Precision
    from device_profiles.workload.workloads import Workloads
    from supernet.data.augmentation_config import AugmentConfig
    from supernet.data.examples import Examples, Inputs
    from supernet.data.image_cache import ImageCache
    from supernet.data.image_examples import Normalisation
    from supernet.data.types import Labelled, LabelledImages, Labels, Splits
    from supernet.evaluation.calibration import Calibration
    from supernet.model_space import ModelSpace
    from supernet.quantisation.fake import Ranges
    from supernet.sharing.supernet import Supernet
    from supernet.space import SubnetConfig
    from supernet.tasks import Task

_IMAGES_VERSION = 1

CHECK_IMAGES = 1000
"""Training images on which checks during training recalibrate: enough for a curve, at little cost in time."""

_KEPT_STATISTICS = 512
"""Subnets whose recalibrated statistics are kept: more than a search has in contention at a time. Those of a MobileNet
are about 100 kB."""

CALIBRATION_IMAGES = 512
"""Training images from which the ranges of activations are found, for int8 files and for fake quantisation, which
rounds like the file only with the same ranges. On five networks for CIFAR-10, int8 files with ranges from as many lost
0.12 points in the mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownData:
    """The data that a finished supernet was trained with.

    Attributes:
        classes: Number of classes.
        counts: Numbers of training, held-out and test images.
        sha256: Digest of all images, their labels and the class names.
    """

    classes: int
    counts: tuple[int, int, int]
    sha256: str


class Materials:
    """The images, the model space and the supernet of one run, each loaded when it is first needed.

    Args:
        run: The run, whose config names the data and the model space, and whose folder has the checkpoint.
        console: Shows progress.
        known: What the finished supernet was trained with; None if the images are loaded to find the number of classes.
    """

    def __init__(self, run: Run, console: Console, known: KnownData | None = None) -> None:
        self._run, self._console, self._known = run, console, known
        self._statistics: dict[tuple[SubnetConfig, int], list[torch.Tensor]] = {}
        self._ranges: dict[tuple[SubnetConfig, int], Ranges] = {}

    @cached_property
    def splits(self) -> Splits:
        """Training, held-out and test images. Raises `DataError`, `ConfigError`."""
        from supernet.data.sources import load_splits
        from supernet.spaces import check_model_section

        self._prepare_torch()
        config, folder = self._run.config, self._run.config_folder
        needs = token_needs(self._run) if self._takes_tokens else None  # which checks the model section, too
        if needs is None:
            check_model_section(config.model, folder, config.data.form)
        with self._console.stage("read texts" if needs else "read images") as progress:
            splits = load_splits(
                config.data, folder, config.seed, progress, self._image_cache(), config.task.labels, needs
            )
        for note in splits.notes:
            self._console.say(note)
        if self._known is not None:
            self._compare(splits, self._known)
        return splits

    def _compare(self, splits: Splits, known: KnownData) -> None:
        """Compare images with those that the finished supernet was trained with: the same files may be read otherwise.

        Raises:
            DataError: Files of one split count to another now, so that test images may have been training images.
        """
        counts = (len(splits.train), len(splits.heldout), len(splits.test))
        again = "give the config another `name` and train again"
        if counts != known.counts:
            raise DataError(
                f"{self._run.checkpoint}: was trained with {_listed(known.counts)}, but the data are now read as "
                f"{_listed(counts)}; {again}"
            )
        if splits.digest != known.sha256 and self._takes_tokens:
            raise DataError(
                f"{self._run.checkpoint}: was trained with other tokens than those that the texts have now, because "
                f"another version of the factory or of tokenizers made the tokenizer; {again}"
            )
        if splits.digest != known.sha256:
            self._console.say(
                "data: images are not decoded quite as they were when the supernet was trained, by another version of "
                f"the factory or of Pillow; if its accuracy has fallen, {again}"
            )

    def _prepare_torch(self) -> None:
        """Set threads and memory handling of PyTorch, before `splits` or `model_space`, where all work starts."""
        import torch

        from supernet.planning.memory import keep_freed_memory

        keep_freed_memory()
        torch.set_num_threads(self._run.config.threads)

    def _image_cache(self) -> ImageCache | None:
        """The cache of decoded images in the run folder; None for data that is not read from files."""
        from supernet.data.image_cache import ImageCache

        run = self._run
        if not run.config.data.needs_path:
            return None
        pixels = run.config.data.model_copy(update={"normalize": "data"})  # which decoded images do not depend on
        files = data_fingerprint(pixels, run.config_folder, run.fingerprints)
        # Splits depend on the kind of labels. Keys of classes name none, as before there were other kinds.
        kind = run.config.task.labels
        inputs = {"data": files, "seed": run.config.seed, **({} if kind == "class" else {"labels": kind})}
        key = stage_key("images", _IMAGES_VERSION, ("numpy", "pillow"), inputs)
        return ImageCache(folder=run.images, key=key)

    @cached_property
    def task(self) -> Task:
        """What the networks learn. Raises `DataError`."""
        from supernet.tasks import make_task

        return make_task(self._run.config.task, self.splits.class_names, self.splits.train.labels)

    @cached_property
    def model_space(self) -> ModelSpace:
        """The model space of the config. Raises `ConfigError`, `SpaceError`."""
        from supernet.spaces import check_images, make_model_space

        self._prepare_torch()
        config = self._run.config.model
        form = self._run.config.data.form
        classes = self._known.classes if self._known else len(self.splits.class_names)
        made = make_model_space(config, classes, self._run.config_folder, form)
        shape = made.input_shape(made.space.largest)
        if self._takes_tokens and len(shape) != 1:
            raise SpaceError(f"{config.space}: takes inputs of shape {shape}, but a build has texts (length,)")
        if not self._takes_tokens:
            check_images(made, form, config.space)
        return made

    @cached_property
    def workloads(self) -> Workloads:
        """Workloads of the files of the subnets, with the preprocessing if files take pixels; see `known_workloads`."""
        return self.known_workloads(pixels=self._takes_pixels)

    def known_workloads(self, *, pixels: bool) -> Workloads:
        """Workloads of the subnets of the model space, with the parts that an earlier command traced."""
        from device_profiles.workload.workloads import Workloads

        workloads = Workloads(self.model_space, pixels=pixels)
        workloads.load(self._run.parts, self._model_key)
        return workloads

    def keep_workloads(self) -> None:
        """Write the parts that were traced so far, for later commands. Raises `DiskError`."""
        self.workloads.save(self._run.parts, self._model_key)

    @cached_property
    def _model_key(self) -> str:
        """Identifies what the networks of the model space are built from."""
        config, folder = self._run.config.model, self._run.config_folder
        versions = [library_version(name) for name in space_libraries(config)]
        form = self._run.config.data.form
        images = [] if form.is_usual else [form.channels, form.width / form.height]
        return digest_of([shaping_values(config), model_code(config, folder), versions, *images])

    @cached_property
    def supernet(self) -> Supernet:
        """The trained supernet. Raises `CheckpointError`."""
        from supernet.training.checkpoint import load_supernet

        return load_supernet(self._run.checkpoint, self.model_space)

    @property
    def _takes_tokens(self) -> bool:
        """Whether the networks take the tokens of texts, and not images."""
        return self._run.config.task.inputs == "tokens"

    @property
    def _takes_pixels(self) -> bool:
        """Whether files take pixels."""
        return self._run.config.export.takes_pixels and not self._takes_tokens

    @cached_property
    def normalisation(self) -> Normalisation:
        """Mean and standard deviation of the training images."""
        from supernet.data.image_examples import Normalisation

        return Normalisation(mean=self.splits.mean, std=self.splits.std)

    def examples(
        self, split: Labelled, augmentation: AugmentConfig | None = None, device: torch.device | None = None
    ) -> Examples:
        """A split for training, with `augmentation` on `device`, or for evaluation; see `ImageExamples.of`."""
        from supernet.data.image_examples import ImageExamples
        from supernet.data.token_examples import TokenExamples
        from supernet.data.types import LabelledTexts

        if isinstance(split, LabelledTexts):
            return TokenExamples.of(split, augmentation.word_dropout if augmentation else 0.0)

        if self._run.config.data.workers:
            device = None  # other processes cannot read a GPU's memory
        return ImageExamples.of(split, self.normalisation, augmentation, device)

    @cached_property
    def loader_workers(self) -> int:
        """Number of processes that prepare training batches: that of the config, else 0 if the images are in memory."""
        from supernet.data.loading import spare_cores
        from supernet.data.types import LabelledImages, OnDemandImages

        train = self.splits.train
        if self._run.config.data.workers is not None:
            return self._run.config.data.workers
        return spare_cores() if isinstance(train, LabelledImages) and isinstance(train.images, OnDemandImages) else 0

    def calibration(self, progress: Progress) -> Calibration:
        """Choose the number of training images for recalibration. Raises `CheckpointError`, `SpaceError`."""
        from supernet.evaluation.calibration import choose_calibration

        search = self._run.config.search
        return choose_calibration(
            self.supernet,
            self.examples(self.splits.train),
            limit=search.calibration_images,
            tolerance=search.calibration_tolerance,
            seed=self._run.config.seed,
            progress=progress,
        )

    def calibrated(self, subnet: SubnetConfig, images: int, supernet: Supernet | None = None) -> nn.Module:
        """An extracted subnet in evaluation mode, recalibrated on `images` training images.

        Args:
            subnet: The subnet.
            images: Number of training images, drawn with the seed of the config.
            supernet: The supernet to extract from; by default the trained one.

        Raises:
            CheckpointError, SpaceError: The supernet cannot be read, or the subnet is not part of it.
        """
        from supernet.evaluation.evaluation import recalibrate

        return recalibrate((supernet or self.supernet).extract(subnet), self.training_inputs(subnet, images))

    def training_inputs(self, subnet: SubnetConfig, images: int) -> Inputs:
        """`images` training images, drawn with the seed of the config, as inputs of the subnet."""
        from supernet.data.examples import ExampleInputs
        from supernet.evaluation.calibration import seeded_rows

        train = self.examples(self.splits.train)
        rows = seeded_rows(len(train), images, self._run.config.seed)
        return ExampleInputs(train, self.model_space.input_shape(subnet), rows)

    def heldout_accuracy(
        self, subnet: SubnetConfig, images: int, supernet: Supernet | None = None, precision: Precision = "fp32"
    ) -> float:
        """The metric of the config on the held-out images: by default the share that the subnet labels correctly.

        Arguments as in `calibrated`; for `precision` and for what is raised, see `heldout_scores`.
        """
        from supernet.data.examples import ExampleInputs
        from supernet.evaluation.evaluation import logits

        inputs = ExampleInputs(self.examples(self.splits.heldout), self.model_space.input_shape(subnet))
        module = self._rounded(self.calibrated(subnet, images, supernet), subnet, precision)
        return float(self.heldout_scores_of(logits(module, inputs).numpy(), self.splits.heldout.labels).mean())

    @cached_property
    def judge(self) -> Judge:
        """What judges the predictions of exported files."""
        return Judge(task=self.task, metric=self.metric)

    @property
    def metric(self) -> str:
        """The metric of the task that the search maximises."""
        return self._run.config.steering

    def heldout_scores_of(self, outputs: NDArray[np.float32], labels: Labels) -> NDArray[np.float64]:
        """The score of each of some held-out images in the metric of the config; see `Task.scores`."""
        return self.task.scores(outputs, labels, self.metric, self.splits.heldout.labels)

    def heldout_scores(
        self, subnet: SubnetConfig, rows: range, calibration_images: int, precision: Precision = "fp32"
    ) -> list[float]:
        """The score of the subnet on each of a range of held-out images: by default 1 for a correct label, else 0.

        In other precisions than fp32 the network computes with the weights, and for int8 also the activations, rounded
        as its file rounds them. See `supernet.quantisation` for how close that is.

        The held-out images stand in the order of their source, for example sorted by class. Here they are counted in a
        random order, drawn with the seed of the config, so that the first ones represent all.

        Args:
            subnet: The subnet.
            rows: Which images, in that order.
            calibration_images: As `images` in `calibrated`.
            precision: The precision of the file.

        Raises:
            CheckpointError, SpaceError: The supernet cannot be read, or the subnet is not part of it or, for int8,
                cannot be quantised.
            DataError: For int8, an activation is not finite for one of the calibration images.
        """
        from supernet.data.examples import ExampleInputs
        from supernet.evaluation.calibration import seeded_rows
        from supernet.evaluation.evaluation import logits
        from supernet.quantisation.fake import FakeQuantised

        heldout = self.examples(self.splits.heldout)
        chosen = seeded_rows(len(heldout), rows.stop, self._run.config.seed)[rows.start :]
        inputs = ExampleInputs(heldout, self.model_space.input_shape(subnet), chosen)
        module, known = self._calibrated_again(subnet, calibration_images), (subnet, calibration_images)
        module = self._rounded(module, subnet, precision, self._ranges.get(known))
        if isinstance(module, FakeQuantised):
            self._ranges[known] = module.ranges
        labels = self.splits.heldout.labels[chosen.numpy()]
        return [float(score) for score in self.heldout_scores_of(logits(module, inputs).numpy(), labels)]

    def _calibrated_again(self, subnet: SubnetConfig, images: int) -> nn.Module:
        """As `calibrated`; the statistics of the last subnets are kept, because more images of them may follow."""
        kept = self._statistics.pop((subnet, images), None)
        if kept is None:
            module = self.calibrated(subnet, images)
        else:
            module = self.supernet.extract(subnet).eval()
            for buffer, value in zip(module.buffers(), kept, strict=True):
                buffer.copy_(value)
        self._statistics[subnet, images] = [buffer.clone() for buffer in module.buffers()]
        if len(self._statistics) > _KEPT_STATISTICS:
            oldest = next(iter(self._statistics))
            del self._statistics[oldest]
            self._ranges.pop(oldest, None)
        return module

    def _rounded(
        self, module: nn.Module, subnet: SubnetConfig, precision: Precision, ranges: Ranges | None = None
    ) -> nn.Module:
        """`module`, a recalibrated `subnet`, as a file of `precision` computes it, for int8 with known `ranges`."""
        from supernet.quantisation.fake import fake_quantised, with_folded_norms
        from supernet.quantisation.storage import round_to_float16, round_to_int8

        if precision == "fp32":
            return module
        inputs = self.training_inputs(subnet, CALIBRATION_IMAGES)
        if precision == "int8":
            return fake_quantised(module, inputs, ranges)
        network = with_folded_norms(module, inputs)
        return round_to_float16(network) if precision == "fp16" else round_to_int8(network)

    @property
    def file_input_type(self) -> InputType:
        """The type of the input of exported files."""
        return "int64" if self._takes_tokens else "uint8" if self._takes_pixels else "float32"

    def file_input_shape(self, subnet: SubnetConfig) -> tuple[int, ...]:
        """The shape of one input of the subnet's file, without the batch."""
        shape = self.model_space.input_shape(subnet)
        if not self._takes_pixels:
            return shape
        channels, height, width = shape
        return height, width, channels

    def file_module(self, network: nn.Module) -> nn.Module:
        """What the file of a network computes: the network, with the preprocessing if files take pixels."""
        from supernet.pixels import PixelInput

        if not self._takes_pixels:
            return network
        return PixelInput(network, self.splits.mean, self.splits.std)

    @property
    def input_scale(self) -> tuple[float, ...]:
        """The factor per channel of the preprocessing in files, see `share_weights`; empty if files take tensors."""
        from supernet.pixels import FULL_SCALE

        return tuple(1 / (FULL_SCALE * std) for std in self.splits.std) if self._takes_pixels else ()

    def inputs(self, split: Labelled, subnet: SubnetConfig) -> FileInputs:
        """The images or texts of a split as inputs of the subnet's file."""
        return self._file_inputs(split, subnet, None)

    def calibration_inputs(self, subnet: SubnetConfig, images: int) -> ModelInput:
        """Training images as inputs of the subnet's file, drawn with the seed of the config: (images, *input_shape)."""
        from supernet.evaluation.calibration import seeded_rows

        rows = seeded_rows(len(self.splits.train), images, self._run.config.seed)
        return self._file_inputs(self.splits.train, subnet, rows)[:]

    def heldout_inputs(self, subnet: SubnetConfig) -> tuple[FileInputs, Labels]:
        """All held-out images as inputs of the subnet's file, and their labels, in the order of `heldout_scores`."""
        from supernet.evaluation.calibration import seeded_rows

        heldout = self.splits.heldout
        rows = seeded_rows(len(heldout), len(heldout), self._run.config.seed)
        return self._file_inputs(heldout, subnet, rows), heldout.labels[rows.numpy()]

    def pixels(self, split: LabelledImages, subnet: SubnetConfig, rows: torch.Tensor | None = None) -> PixelInputs:
        """The images of a split, or those at `rows`, as pixels at the subnet's resolution."""
        _, height, width = self.model_space.input_shape(subnet)
        return PixelInputs(split, (height, width), None if rows is None else rows.numpy())

    def _file_inputs(self, split: Labelled, subnet: SubnetConfig, rows: torch.Tensor | None) -> FileInputs:
        from supernet.data.examples import ExampleInputs
        from supernet.data.types import LabelledImages

        if self._takes_pixels and isinstance(split, LabelledImages):
            return self.pixels(split, subnet, rows)
        return ModelInputs(ExampleInputs(self.examples(split), self.model_space.input_shape(subnet), rows))


def _listed(counts: tuple[int, int, int]) -> str:
    return "{} training, {} held-out and {} test images".format(*counts)


class ModelInputs:
    """Images as float32 model inputs (n, channels, height, width) in NumPy, or texts as int64 tokens (n, length).

    Each slice is computed on access.
    """

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs

    def __len__(self) -> int:
        return len(self._inputs)

    def __getitem__(self, rows: slice) -> NDArray[np.float32] | NDArray[np.int64]:
        return self._inputs[rows].contiguous().numpy()


class PixelInputs:
    """Images as pixels, uint8 (n, height, width, channels) in NumPy, resized as an app resizes them; on access.

    Args:
        split: The images.
        size: Height and width of the model's input.
        rows: The images to use, (n,); None for all.
    """

    def __init__(self, split: LabelledImages, size: tuple[int, int], rows: NDArray[np.int64] | None) -> None:
        self._split, self._size, self._rows = split, size, rows

    def __len__(self) -> int:
        return len(self._split) if self._rows is None else len(self._rows)

    def __getitem__(self, rows: slice) -> NDArray[np.uint8]:
        from exports.client.python.preprocess import resize

        images = self._split.images[rows if self._rows is None else self._rows[rows]]
        return resize(images.transpose(0, 2, 3, 1), *self._size)


FileInputs = ModelInputs | PixelInputs
"""Images or texts as inputs of an exported file."""
