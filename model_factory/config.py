"""The config: everything that shapes a family, in one typed file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from device_profiles.budgets import Budgets
from factory_base.documents import Document, load_document, nearest
from factory_base.errors import ConfigError
from search.config import SearchConfig
from supernet.data.config import DataConfig
from supernet.spaces import MODEL_SPACES
from supernet.spaces.config import ImportedConfig, SpaceConfig
from supernet.training.config import TrainingConfig
from supernet.training.finetune_config import FinetuneConfig

CONFIG_NAME = "factory.yaml"
"""The name a command looks for in its folder and the folders above."""


def _space_tag(value: Any) -> str | None:
    """Which class reads a `model` section; None where its `space` is missing or unknown."""
    space = value.get("space", "mobilenet") if isinstance(value, dict) else getattr(value, "space", None)
    if isinstance(space, str) and ":" in space:
        return _IMPORTED
    return f"<{space}>" if space in MODEL_SPACES else None


_IMPORTED = "<package.module:callable>"
_SECTIONS = (
    *(Annotated[entry.config, Tag(f"<{name}>")] for name, entry in MODEL_SPACES.items()),
    Annotated[ImportedConfig, Tag(_IMPORTED)],
)

if TYPE_CHECKING:
    ModelSection = SpaceConfig
else:
    ModelSection = Annotated[
        Union[_SECTIONS],  # noqa: UP007 - made from the table
        Discriminator(_space_tag),
    ]


class TargetConfig(Document):
    """One device profile that the family serves."""

    device: str
    """A profile: a file (relative to the config), a name in `profiles/` beside the config, or a shipped one."""
    budgets: Budgets = Budgets()
    """Override the profile's default budgets for this task."""


class ExportConfig(Document):
    """How the models are written."""

    opset: int = Field(default=20, ge=18, le=23)
    """Version of the ONNX operator set."""
    dynamic_batch: bool = False
    """Whether files take any batch size; the default is a batch of one, as an app runs them."""


class FactoryConfig(Document):
    """A whole config."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")
    """Of the family; `runs/<name>` and `dist/<name>` are called after it."""
    release: int = Field(default=1, ge=1)
    """Number of this release; must grow from one published family to the next."""
    seed: int = Field(default=0, ge=0)
    threads: int = Field(default=2, ge=1)
    """CPU threads of training and scoring. Another number gives other rounding, hence another family."""
    data: DataConfig
    model: ModelSection
    training: TrainingConfig
    search: SearchConfig = SearchConfig()
    finetune: FinetuneConfig | None = None
    """Train each chosen subnet a little further on its own before it is exported; `{}` takes the defaults."""
    export: ExportConfig = ExportConfig()
    targets: tuple[TargetConfig, ...] = Field(min_length=1)

    @field_validator("model", mode="before")
    @classmethod
    def _known_space(cls, section: Any) -> Any:
        if _space_tag(section) is None:
            space = section.get("space") if isinstance(section, dict) else section
            known = [*MODEL_SPACES, "package.module:callable"]
            raise ValueError(f"unknown model space {space!r}; {nearest(str(space), known)}")
        return section

    @field_validator("targets")
    @classmethod
    def _distinct(cls, targets: tuple[TargetConfig, ...]) -> tuple[TargetConfig, ...]:
        names = [target.device for target in targets]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"device {twice[0]!r} is a target twice; give each target a profile of its own")
        return targets

    @model_validator(mode="after")
    def _takes_images(self) -> FactoryConfig:
        if self.model.inputs != "images":
            raise ValueError(
                f"model: space {self.model.space!r} takes {self.model.inputs}, but a build reads images; "
                "train it from Python, as benchmarks/text_sst2.py does"
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
    def _resolution_fits(self) -> FactoryConfig:
        largest = self.model.largest_resolution
        if largest is not None and largest > self.data.image_size:
            raise ValueError(
                f"model: resolutions go up to {largest} but data.image_size is "
                f"{self.data.image_size}; raise image_size, or lower the resolution"
            )
        self.training.augment.check_size(self.data.image_size)
        return self


def find_config(start: Path) -> Path | None:
    """The nearest `factory.yaml` in `start` or a folder above it."""
    for folder in (start, *start.parents):
        if (folder / CONFIG_NAME).is_file():
            return folder / CONFIG_NAME
    return None


def load_config(path: Path) -> FactoryConfig:
    """Read a config.

    Raises:
        ConfigError: missing or wrong.
    """
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder; name a config file, or use --run for a run folder")
    return load_document(path, FactoryConfig)


def shipped_configs() -> Path:
    """The folder of the configs that ship, in a wheel or in a checkout."""
    inside = Path(__file__).parent / "configs"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "configs"
