"""The config: everything that shapes a family, in one typed file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import Discriminator, Field, Tag, ValidationError, field_validator, model_validator

from device_profiles.budgets import Budgets
from device_profiles.engine import Precision
from device_profiles.profile import Platform
from exports.onnx.conversion import DROP_LIMIT
from factory_base.documents import ADDED, HANDLING, Document, load_document, nearest
from factory_base.errors import ConfigError
from factory_base.faults import shown
from factory_base.fields import LARGEST_EXACT, Name, Threads
from search.config import SearchConfig
from supernet.data.augmentation_config import TEXT_CHANGES, AugmentConfig
from supernet.data.config import DataConfig
from supernet.planning.pretrained_start import pretrained_recipe
from supernet.spaces import MODEL_SPACES
from supernet.spaces.config import ImportedConfig, SpaceConfig
from supernet.tasks import TASKS
from supernet.tasks.config import ClassificationConfig, TaskConfig
from supernet.training.config import TrainingConfig
from supernet.training.finetune_config import FinetuneConfig, QuantisedFinetuneConfig

CONFIG_NAME = "factory.yaml"
"""The file name that commands look for in the current folder and in the folders above it."""


def _space_tag(value: Any) -> str | None:
    """The tag of the class that reads a `model` section; None if the `space` in it is not known."""
    space = value.get("space", "mobilenet") if isinstance(value, dict) else getattr(value, "space", None)
    if isinstance(space, str) and ":" in space:
        return _IMPORTED
    return f"<{space}>" if isinstance(space, str) and space in MODEL_SPACES else None


_NO_MODEL = ("cloud", "off")
"""What a floor may be beside a target."""
_IMPORTED = "<package.module:callable>"
_SECTIONS = (
    *(Annotated[entry.config, Tag(f"<{name}>")] for name, entry in MODEL_SPACES.items()),
    Annotated[ImportedConfig, Tag(_IMPORTED)],
)

if TYPE_CHECKING:
    ModelSection = SpaceConfig
else:
    ModelSection = Annotated[
        Union[_SECTIONS],  # noqa: UP007 - made from a table, so it cannot be written with `|`
        Discriminator(_space_tag),
    ]


def _task_tag(value: Any) -> str | None:
    """The tag of the class that reads a `task` section; None if its name is not known."""
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    return f"<{name}>" if isinstance(name, str) and name in TASKS else None


_TASKS = tuple(Annotated[entry.config, Tag(f"<{name}>")] for name, entry in TASKS.items())

if TYPE_CHECKING:
    TaskSection = TaskConfig
else:
    TaskSection = Annotated[
        Union[_TASKS],  # noqa: UP007 - made from a table, so it cannot be written with `|`
        Discriminator(_task_tag),
    ]


OptionValue = Annotated[int | float, Field(ge=0, le=1e9)]
"""The value of one choice of a subnet: no option of any space is larger."""


class TargetConfig(Document):
    """One device profile for which the family has a model."""

    device: str
    """A profile: a file (relative to the config), a name in `profiles/` beside the config, or a shipped one."""
    budgets: Budgets = Budgets()
    """Budgets for this task, which override the default budgets of the profile."""
    precisions: Annotated[tuple[Precision, ...], Field(min_length=1)] | None = None
    """The precisions of files that the search may choose; by default int8, fp16 and fp32, as far as the profile allows
    them. `int8_weights` is chosen only if it is listed here."""
    subnet: dict[str, OptionValue] | None = None
    """The subnet of this target, with a value for each choice, as `factory plan` writes it. Then nothing is searched
    for this target; its file has to keep the budgets."""

    @field_validator("precisions")
    @classmethod
    def _each_once(cls, precisions: tuple[Precision, ...] | None) -> tuple[Precision, ...] | None:
        twice = sorted({p for p in precisions or () if (precisions or ()).count(p) > 1})
        if twice:
            raise ValueError(f"{twice[0]} is given twice; list each precision once")
        return precisions


class ExportConfig(Document):
    """The form of the exported files."""

    input: Literal["pixels", "tensor"] = "pixels"
    """What files take. `pixels`: an image as a camera or a decoder gives it, uint8 (height, width, 3) in RGB order; the
    normalisation is in the file, and resizing is done in integers. `tensor`: float32 (3, height, width), which the app
    normalises itself, as in families before manifest 1.4. An app must know which: switching makes its updates wait.
    Files of text classifiers take int64 tokens in any case."""
    opset: int = Field(default=20, ge=18, le=23)
    """Version of the ONNX operator set."""
    dynamic_batch: bool = False
    """Whether files accept any batch size; by default they accept a batch of one, as apps run them."""
    drop_limit: float = Field(default=DROP_LIMIT, ge=0, le=100)
    """Percentage points of held-out accuracy that an int8 file may lose against the float32 network before remedies are
    tried: other ranges, equalised layers, layers in float32, and at last fine-tuning as in `quantised_finetune`."""
    layout: Annotated[Literal["separate", "shared"], HANDLING] = "separate"
    """`shared`: all picks of a precision share one weights file, and each has a graph of some kB; `separate`: each is
    one file."""
    bands: Annotated[tuple[tuple[Name, ...], ...], HANDLING] = ()
    """In the shared layout, groups of targets that get a weights file of their own, cut to what they need."""

    @property
    def takes_pixels(self) -> bool:
        """Whether files take pixels."""
        return self.input == "pixels"

    def engine_options(self) -> dict[str, Any]:
        """The options with which `exports.get_engine` writes such files."""
        return {"opset": self.opset, "dynamic_batch": self.dynamic_batch}


class PublishConfig(Document):
    """What of your data a family publishes: everything in its folder is meant for users' devices."""

    samples: Literal["images", "tensors", "none"] = "tensors"
    """With what apps check that a model computes what it should. `images`: some test images. `tensors`: invented
    inputs. `none`: nothing; then apps find out only whether a model runs."""
    evaluation: bool = False
    """Whether the labels of the test images and all predictions are published; they are kept in the run in any case."""


class FactoryConfig(Document):
    """A whole config, as `factory.yaml` holds it."""

    name: Name
    """Name of the family, and of its folders `runs/<name>` and `dist/<name>`."""
    release: int = Field(default=1, ge=1, le=LARGEST_EXACT)
    """Number of this release, which must grow from one published family to the next."""
    seed: int = Field(default=0, ge=0, le=LARGEST_EXACT)
    """Seed of all random choices, from the held-out split to the subnets that are scored."""
    threads: Threads = 2
    """CPU threads of training and scoring. Another number rounds differently and therefore gives another family."""
    task: Annotated[TaskSection, ADDED] = ClassificationConfig()
    """What the networks learn: `classification`, `multilabel`, `regression` or `text_classification`, or a section with
    the `name` and options of one of them."""
    metric: Annotated[str | None, ADDED] = None
    """What the search maximises and `factory diff` compares; by default the first metric of the task."""
    data: DataConfig
    model: ModelSection
    training: TrainingConfig
    search: SearchConfig = SearchConfig()
    finetune: FinetuneConfig | None = None
    """Train each chosen subnet a little further on its own before it is exported; `{}` takes the defaults."""
    quantised_finetune: QuantisedFinetuneConfig = QuantisedFinetuneConfig()
    """Train a chosen subnet a little further for its int8 file, if that loses too much accuracy by other means."""
    export: ExportConfig = ExportConfig()
    publish: Annotated[PublishConfig, HANDLING] = PublishConfig()
    floors: Annotated[dict[Platform, str], HANDLING] = Field(default_factory=dict)
    """What the devices of a platform get that match no target: the `device` of a target, whose model they get, `cloud`
    or `off`. Devices of the other platforms get the smallest model."""
    targets: tuple[TargetConfig, ...] = Field(min_length=1, max_length=1000)
    """The devices to search for, each of which becomes a tier of the family."""

    @model_validator(mode="before")
    @classmethod
    def _pretrained_start(cls, values: Any) -> Any:
        """What a `model` section that names weights sets in other sections, unless the config says otherwise."""
        model = _parsed_model(values.get("model")) if isinstance(values, dict) else None
        if model is None or not model.names_weights:
            return values
        statistics = model.statistics
        given = {"normalize": statistics, "tokenizer": model.tokenizer}
        return values | {
            "data": _with_defaults(values.get("data"), {name: v for name, v in given.items() if v is not None}),
            "training": _with_defaults(values.get("training", {}), pretrained_recipe(model)),
        }

    @field_validator("task", mode="before")
    @classmethod
    def _known_task(cls, section: Any) -> Any:
        given = {"name": section} if isinstance(section, str) else section
        if _task_tag(given) is None:
            name = given.get("name") if isinstance(given, dict) else given
            if not isinstance(name, str):
                raise ValueError(f"must be the name of a task: {', '.join(TASKS)}, got {shown(section)}")
            raise ValueError(f"unknown task {shown(name)}; {nearest(name, TASKS)}")
        return given

    @model_validator(mode="after")
    def _metric_is_of_task(self) -> FactoryConfig:
        if self.metric is not None and self.metric not in self.task.metrics:
            raise ValueError(
                f"metric {shown(self.metric)} is not one of the task {self.task.name}: {', '.join(self.task.metrics)}"
            )
        if self.training.distillation != "kl" and self.task.labels != "class":
            raise ValueError(f"training.distillation must be kl for the task {self.task.name}")
        if self.training.imbalance != "none" and self.task.labels != "class":
            raise ValueError(
                f"training.imbalance must be none for the task {self.task.name}, whose examples have no single class"
            )
        return self

    @field_validator("model", mode="before")
    @classmethod
    def _known_space(cls, section: Any) -> Any:
        if _space_tag(section) is None:
            space = section.get("space") if isinstance(section, dict) else None
            known = [*MODEL_SPACES, "package.module:callable"]
            if not isinstance(space, str):
                raise ValueError(f"must be a section whose key space is one of {', '.join(known)}, got {shown(space)}")
            raise ValueError(f"unknown model space {shown(space)}; {nearest(space, known)}")
        return section

    @field_validator("targets")
    @classmethod
    def _distinct(cls, targets: tuple[TargetConfig, ...]) -> tuple[TargetConfig, ...]:
        names = [target.device for target in targets]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"device {twice[0]!r} is a target twice; give each target a profile of its own")
        return targets

    @field_validator("floors", mode="before")
    @classmethod
    def _off_is_a_word(cls, floors: Any) -> Any:
        """YAML 1.1 reads `off` without quotes as false."""
        if not isinstance(floors, dict):
            return floors
        return {platform: "off" if floor is False else floor for platform, floor in floors.items()}

    @model_validator(mode="after")
    def _floors_exist(self) -> FactoryConfig:
        known = [*_NO_MODEL, *(target.device for target in self.targets)]
        for platform, floor in self.floors.items():
            if floor not in known:
                raise ValueError(f"floors: {platform} names the target {shown(floor)}; {nearest(floor, known)}")
        return self

    @model_validator(mode="after")
    def _initial_weights_fit(self) -> FactoryConfig:
        training, from_model = self.training, self.model.names_weights
        if from_model and training.initial_weights is not None:
            raise ValueError(
                "training: initial_weights and model.from both name weights to start from; remove one of them"
            )
        if from_model or training.initial_weights is not None:
            return self
        for key, asked in (
            ("fresh_parameters", bool(training.fresh_parameters)),
            ("sort_by_importance", training.sort_by_importance),
            ("probe: true", training.probe is True),
            ("epochs 0", training.epochs == 0),
        ):
            if asked:
                raise ValueError(
                    f"training: {key} applies only to initial weights; set training.initial_weights, or "
                    + ("raise epochs" if training.epochs == 0 else f"remove {key}")
                )
        return self

    @model_validator(mode="after")
    def _task_fits_model(self) -> FactoryConfig:
        """The task decides what the data are, and the model space must take that."""
        task, takes = self.task, self.model.inputs
        if takes != task.inputs:
            spaces = [name for name, entry in MODEL_SPACES.items() if task.inputs in entry.inputs]
            hint = f"choose one of the spaces {', '.join(spaces)}"
            if takes == "tokens":
                hint = "set task: text_classification, or " + hint
            raise ValueError(
                f"model: space {self.model.space!r} takes {takes}, but the task {task.name} has {task.inputs}; {hint}"
            )
        return self

    @model_validator(mode="after")
    def _augmentation_fits(self) -> FactoryConfig:
        given, plain = self.training.augment, AugmentConfig()
        changed = [name for name in AugmentConfig.model_fields if getattr(given, name) != getattr(plain, name)]
        wrong = [name for name in changed if (name in TEXT_CHANGES) != (self.task.inputs == "tokens")]
        if wrong:
            what = "texts" if self.task.inputs == "images" else "images"
            raise ValueError(
                f"training: augment.{wrong[0]} is for {what}, not for the task {self.task.name}; remove it"
            )
        return self

    @model_validator(mode="after")
    def _fine_tuning_fits(self) -> FactoryConfig:
        if self.finetune is not None:
            try:
                self.finetune.recipe(self.training)
            except ValueError as error:
                raise ValueError("finetune: its micro_batch_size must divide its batch_size") from error
        return self

    @model_validator(mode="after")
    def _apps_can_fit(self) -> FactoryConfig:
        if self.export.takes_pixels or (self.data.form.is_usual and self.data.fitting == "squash"):
            return self
        raise ValueError(
            "export.input is tensor, but apps crop, letterbox, turn gray and fit to images that are not square only in "
            "integers; set export.input to pixels, or the data to square images in colour with the fitting squash"
        )

    @model_validator(mode="after")
    def _resolution_fits(self) -> FactoryConfig:
        largest = self.model.largest_resolution
        if largest is not None and largest > self.data.form.height:
            raise ValueError(
                f"model: resolutions go up to {largest} but data.image_size is "
                f"{self.data.form.height}; raise image_size, or lower the resolution"
            )
        if self.task.inputs == "images":
            self._check_proportions()
            self.training.augment.check_size(min(self.data.form.size))
        return self

    def _check_proportions(self) -> None:
        form = self.data.form
        odd = [r for r in getattr(self.model, "resolutions", ()) if not form.has_whole_width(r)]
        if odd:
            raise ValueError(
                f"model: a resolution is the height of an input, whose width has the proportions of data.image_size; "
                f"{odd[0]} x {form.width} / {form.height} is not a whole number of pixels; choose other resolutions"
            )

    @property
    def steering(self) -> str:
        """The name of the metric that the search maximises."""
        return self.metric or self.task.metrics[0]


def _parsed_model(section: Any) -> SpaceConfig | None:
    """The `model` section as its class reads it; None if it is not valid, which is reported elsewhere."""
    if isinstance(section, SpaceConfig):
        return section
    space = section.get("space") if isinstance(section, dict) else None
    if not isinstance(space, str) or space not in MODEL_SPACES:
        return None
    try:
        return MODEL_SPACES[space].config.model_validate(section)
    except ValidationError:
        return None


def _with_defaults(section: Any, defaults: dict[str, Any]) -> Any:
    """A section of a config with other `defaults` for what it does not say."""
    if isinstance(section, Document):
        return section.model_copy(update={k: v for k, v in defaults.items() if k not in section.model_fields_set})
    return defaults | section if isinstance(section, dict) else section


def find_config(start: Path) -> Path | None:
    """The nearest `factory.yaml` in `start` or a folder above it; None if there is none."""
    for folder in (start, *start.parents):
        if (folder / CONFIG_NAME).is_file():
            return folder / CONFIG_NAME
    return None


def load_config(path: Path) -> FactoryConfig:
    """Read a config.

    Raises:
        ConfigError: The file cannot be read, or is not a valid config.
    """
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder; name a config file, or use --run for a run folder")
    return load_document(path, FactoryConfig)


def shipped_configs() -> Path:
    """The folder of the shipped configs, in a wheel or in a checkout."""
    inside = Path(__file__).parent / "configs"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "configs"
