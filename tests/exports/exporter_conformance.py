"""What every exporter must do. The tests of an exporter inherit `ExporterConformance` and name the exporter."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from exports.exporter import ConvertOptions, export_artifact
from exports.exporters import get_exporter
from exports.isolation import process
from exports.onnx.conversion import CheckImages
from factory_base.errors import EngineError, ParityError
from supernet.tasks import Classification

SHAPE, CLASSES = (3, 12, 12), 4


def labelled(count, seed):
    """Noisy images of four patterns, float32 `(count, 3, 12, 12)`, and which pattern each shows."""
    generator = np.random.default_rng(seed)
    patterns = np.random.default_rng(0).normal(size=(CLASSES, *SHAPE))
    labels = generator.integers(0, CLASSES, count)
    return (patterns[labels] + 2 * generator.normal(size=(count, *SHAPE))).astype(np.float32), labels


class ExporterConformance:
    name: str
    """The name of the exporter."""

    @pytest.fixture(scope="class")
    @classmethod
    def exporter(cls):
        return get_exporter(cls.name)

    @pytest.fixture(scope="class")
    @classmethod
    def trained(cls):
        """A small network with batch normalisation and a residual sum, trained until it knows the patterns."""
        torch.manual_seed(0)
        images, labels = map(torch.from_numpy, labelled(512, 1))
        module = _Net()
        optimiser = torch.optim.Adam(module.parameters(), 0.02)
        for _ in range(40):
            optimiser.zero_grad()
            nn.functional.cross_entropy(module(images), labels).backward()
            optimiser.step()
        return module.eval()

    @pytest.fixture(scope="class")
    @classmethod
    def options(cls):
        return ConvertOptions(calibration=labelled(64, 2)[0], check=_check(200, 3))

    @pytest.fixture(scope="class")
    @classmethod
    def exported(cls, exporter, trained, options, tmp_path_factory):
        """A folder, and the artifact of each precision in it."""
        folder, images = tmp_path_factory.mktemp(cls.name), labelled(200, 4)[0]

        def export(precision):
            given = dataclasses.replace(options, precision=precision)
            return export_artifact(trained, SHAPE, folder, exporter, images, 1, options=given)

        return folder, {precision: export(precision) for precision in exporter.precisions}

    def test_it_states_its_name_precisions_versions_and_limits(self, exporter):
        assert exporter.name == self.name
        assert "fp32" in exporter.precisions
        assert all(version[0].isdigit() for version in exporter.versions_tried())
        assert exporter.limits()

    def test_every_precision_is_written_and_proven(self, exporter, exported):
        folder, artifacts = exported
        assert len({artifact.sha256 for artifact in artifacts.values()}) == len(exporter.precisions)
        for precision, artifact in artifacts.items():
            proof = artifact.proof
            assert (proof.precision, artifact.conversion.precision, proof.classes) == (precision, precision, CLASSES)
            assert (folder / artifact.path).stat().st_size == artifact.bytes
            assert proof.parity.images == 200
            assert proof.operators == tuple(sorted(set(proof.operators))) != ()
            assert proof.versions_tried == exporter.versions_tried()
            assert 0 < proof.host.latency_p50_us <= proof.host.latency_p95_us
            assert proof.host.load_us > 0

    def test_the_same_network_gives_the_same_bytes(self, exporter, exported, trained, options, tmp_path):
        for precision, artifact in exported[1].items():
            path = tmp_path / precision
            exporter.convert(trained, SHAPE, path, dataclasses.replace(options, precision=precision))
            assert path.read_bytes() == (exported[0] / artifact.path).read_bytes()

    def test_an_unknown_precision_is_refused_before_anything_is_written(self, exporter, trained, tmp_path):
        with pytest.raises(EngineError, match=f"'{self.name}' cannot convert to 'int3'; it supports: fp32"):
            exporter.convert(trained, SHAPE, tmp_path / "net", ConvertOptions(precision="int3"))
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        "calibration", [None, np.zeros((4, 3, 5, 5), np.float32), np.full((4, *SHAPE), np.nan, "f4")]
    )
    def test_calibration_inputs_that_cannot_be_used_are_refused(self, exporter, trained, calibration, tmp_path):
        with pytest.raises(EngineError, match="calibration inputs"):
            exporter.convert(
                trained, SHAPE, tmp_path / "net", ConvertOptions(precision="int8", calibration=calibration)
            )
        assert not list(tmp_path.iterdir())

    def test_a_file_of_another_precision_than_stated_is_refused(self, exporter, exported, trained):
        folder, artifacts = exported
        with pytest.raises(EngineError, match="holds a network in fp32, expected int8"):
            exporter.prove(trained, folder / artifacts["fp32"].path, "int8", labelled(8, 5)[0], 1)

    def test_a_file_of_another_network_is_refused(self, exporter, exported, trained):
        folder, artifacts = exported
        other = nn.Sequential(trained, nn.Linear(CLASSES, CLASSES)).eval()
        with pytest.raises(ParityError, match="differs from the module"):
            exporter.prove(other, folder / artifacts["fp32"].path, "fp32", labelled(64, 5)[0], 1)

    @pytest.mark.parametrize("kept", [0, 700, -100])
    def test_a_truncated_file_is_refused_in_one_line(self, exporter, exported, trained, kept, tmp_path):
        folder, artifacts = exported
        path = tmp_path / f"cut{exporter.suffix}"
        path.write_bytes((folder / artifacts["fp32"].path).read_bytes()[:kept])
        with pytest.raises(EngineError, match=r"^cut\S*: ") as caught:
            exporter.prove(trained, path, "fp32", labelled(8, 5)[0], 1)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("job", ["convert", "measure", "run"])
    def test_a_crash_of_the_engine_is_an_error_that_says_what_to_do(self, crashing, job, tmp_path):
        crashing(f"jobs.JOBS[{job!r}] = lambda *_: ctypes.string_at(0)")
        with pytest.raises(EngineError, match=r"the engine crashed \(segmentation fault\); .* another precision"):
            self.export_int8(tmp_path)
        assert not _files(tmp_path)

    def test_an_engine_that_hangs_is_stopped(self, crashing, tmp_path, monkeypatch):
        monkeypatch.setattr(f"exports.exporters.{self.name}._PROVE_SECONDS", 0.5)
        crashing("jobs.JOBS['measure'] = lambda *_: time.sleep(60)")
        with pytest.raises(EngineError, match=r"did not finish within 0\.5 s"):
            self.export_int8(tmp_path)
        assert not _files(tmp_path)

    def test_an_engine_without_memory_is_refused(self, crashing, tmp_path):
        crashing("jobs.JOBS['measure'] = lambda *_: bytearray(1 << 40)")
        with pytest.raises(EngineError, match="needs more memory than is allowed"):
            self.export_int8(tmp_path)
        assert not _files(tmp_path)

    @pytest.fixture
    def crashing(self, monkeypatch, exporter, trained, options):
        """Runs a statement in the other process before it does its first job."""
        given = dataclasses.replace(options, precision="int8")

        def export_int8(folder):
            export_artifact(trained, SHAPE, folder, exporter, labelled(8, 5)[0], 1, options=given)

        self.export_int8 = export_int8

        def change(statement):
            first, path, last = process._PROGRAM.split("\n", 2)
            imports = "import ctypes, time; from exports.isolation import jobs"
            monkeypatch.setattr(process, "_PROGRAM", "\n".join((first, path, imports, statement, last)))

        return change


def _check(count, seed):
    inputs, labels = labelled(count, seed)
    return CheckImages(inputs=inputs, labels=labels, task=Classification(names=()), metric="accuracy")


def _files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


class _Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.classifier = nn.Linear(8 * 36, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        return self.classifier((x + self.block(x)).flatten(1))
