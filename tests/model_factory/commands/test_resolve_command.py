"""What `factory resolve` takes as facts about a device."""

import pytest

from factory_base.errors import ConfigError
from model_factory.commands.resolve import facts_from_text

_NONE = dict.fromkeys(
    ("ram", "cores", "os_version", "soc", "device", "features", "probe", "free_disk", "free_memory", "engine_version")
) | {"compute_units": ()}


def facts(**given):
    return facts_from_text(platform="android", **(_NONE | given))


@pytest.mark.parametrize(
    ("soc", "maker", "model"),
    [("Acme/A1", "Acme", "A1"), ("Acme/", "Acme", None), ("Acme / A1/b ", "Acme", "A1/b"), (None, None, None)],
)
def test_a_system_on_a_chip_is_a_maker_and_a_model(soc, maker, model):
    assert (facts(soc=soc).soc_maker, facts(soc=soc).soc_model) == (maker, model)


@pytest.mark.parametrize("soc", ["Acme", "Acme A1", "/A1", "", "/"])
def test_a_system_on_a_chip_without_slash_or_maker_is_refused(soc):
    with pytest.raises(ConfigError, match=r"--soc: '.*' is not maker/model such as 'Acme/A1'; write 'Acme/' if"):
        facts(soc=soc)


@pytest.mark.parametrize("version", ["34", "12.1", "1.22.0+cpu", "6.8.0-49-generic", "1.22.0rc1"])
def test_versions_are_taken_as_platforms_write_them(version):
    assert facts(os_version=version, engine_version=version).os_version == version


@pytest.mark.parametrize("version", ["", "new", "v12", "9" * 5000, "12.", ".5", "12..1"])
def test_what_is_no_version_is_refused_in_one_short_line(version):
    for option in ("os_version", "engine_version"):
        with pytest.raises(ConfigError, match="is not a version; write up to 64 characters") as caught:
            facts(**{option: version})
        assert len(str(caught.value)) < 200
