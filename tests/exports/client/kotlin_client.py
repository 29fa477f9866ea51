"""Compiles the Kotlin client with its test sources, once per state of the sources, and starts it on a JVM.

The compiler is the npm package `kotlin-compiler` below `$MODEL_FACTORY_NPM/node_modules`; the tests also need a Java
runtime and the Debian package `libjna-java`, by which they call ONNX Runtime's native library.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock

SOURCES = Path(__file__).parents[3] / "exports" / "client" / "kotlin" / "src"
JNA = Path("/usr/share/java/jna.jar")
JAVA = shutil.which("java")
LIBRARIES = Path(os.environ.get("MODEL_FACTORY_NPM", ""), "node_modules", "kotlin-compiler", "lib")
COMPILER = [
    LIBRARIES / f"{name}.jar"
    for name in (
        "kotlin-compiler",
        "kotlin-stdlib",
        "kotlin-script-runtime",
        "kotlin-reflect",
        "kotlinx-coroutines-core-jvm",
        "annotations-13.0",
    )
]
FLAGS = ("-Werror", "-no-reflect", "-jvm-target", "1.8")
"""Android takes bytecode of Java 8 at every API level."""
QUICK_START = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")
"""Options of the JVM for programs of a few seconds: no optimizing compiler, no threads for collecting garbage."""
KEPT = 8
"""The jars that are kept, the latest used: checkouts of several states share the folder. A jar has half a megabyte."""
COMPILE_SECONDS = 240
"""It takes six seconds on an idle core, and many times that on a machine that is busy with other tests."""


def missing() -> str | None:
    """What the tests of the Kotlin client lack, for `skip`; None if nothing."""
    if not os.environ.get("MODEL_FACTORY_NPM") or not all(path.is_file() for path in COMPILER):
        return "needs MODEL_FACTORY_NPM=FOLDER, with `npm install --prefix FOLDER kotlin-compiler@2.4`"
    if JAVA is None:
        return "needs a Java runtime: the Debian package default-jre-headless"
    if not JNA.is_file():
        return "needs the Debian package libjna-java"
    return None if native_library() else "needs a wheel of ONNX Runtime with the file libonnxruntime.so.*"


def native_library() -> Path | None:
    """ONNX Runtime's library in the Python wheel, whose C interface the JVM calls; None if the wheel has none."""
    spec = find_spec("onnxruntime")
    folders = spec.submodule_search_locations if spec else None
    found = sorted(Path(folders[0], "capi").glob("libonnxruntime.so.*")) if folders else []
    return found[0] if found else None


def command(main: str, *arguments: str, options: tuple[str, ...] = QUICK_START) -> list[str]:
    """The command that runs the object `main` of the test sources, which are compiled if no jar of theirs is kept."""
    classes = class_path(jar(), LIBRARIES / "kotlin-stdlib.jar", JNA)
    return [str(JAVA), *options, f"-Donnxruntime={native_library()}", "-cp", classes, main, *arguments]


def jar() -> Path:
    """The compiled client and test sources, kept in the user's cache by the digest of what they are made from."""
    sources = sorted(SOURCES.rglob("*.kt"))
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "model-factory" / "kotlin"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{digest(sources)}.jar"
    with FileLock(folder / "lock"):  # several processes of tests share the processor; one of them compiles
        if path.is_file():
            path.touch()
        else:
            compile_to(path, sources, JNA)
            for old in sorted(folder.glob("*.jar"), key=lambda found: found.stat().st_mtime)[:-KEPT]:
                old.unlink()
    return path


def digest(sources: list[Path]) -> str:
    """The digest of the sources, the flags, and the compiler's version."""
    parts = [(LIBRARIES.parent / "build.txt").read_bytes(), repr(compiler_flags()).encode()]
    parts += [part for path in sources for part in (path.relative_to(SOURCES).as_posix().encode(), path.read_bytes())]
    return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:16]


def compiler_flags() -> tuple[str, ...]:
    """`FLAGS`, and only Java 8's interfaces where the JDK describes them: Android has few of the later ones."""
    home = Path(str(JAVA)).resolve().parents[1]
    return (*FLAGS, "-Xjdk-release=8") if (home / "lib" / "ct.sym").is_file() else FLAGS


def compile_to(path: Path, sources: list[Path], *libraries: Path) -> None:
    """Compile `sources` to a jar. Raises `AssertionError` with the compiler's messages if it warns or fails."""
    part = path.with_suffix(".part.jar")
    compiler = [str(JAVA), *QUICK_START, "-cp", class_path(*COMPILER), "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"]
    places = ["-kotlin-home", str(LIBRARIES.parent), "-cp", class_path(*libraries), "-d", str(part)]
    done = subprocess.run(
        [*compiler, *compiler_flags(), *places, *map(str, sources)],
        capture_output=True,
        text=True,
        timeout=COMPILE_SECONDS,
    )
    if done.returncode:
        raise AssertionError(done.stderr[-4000:])
    part.replace(path)


def class_path(*files: Path) -> str:
    """The value of the option `-cp`."""
    return os.pathsep.join(map(str, files))
