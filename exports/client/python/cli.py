"""The command line: what an app does at launch, and what the model says about an image or a text."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .decoding import Answer
from .engine import Engine, EngineCrashedError, EngineRefusedError, OnnxRuntimeEngine
from .facts import device_facts
from .files import printable, read
from .images import decode_png
from .launch import DEFAULT_TIMEOUT, Given, Launched, LaunchError, Running, launch
from .records import DeviceFacts
from .store import FolderStore, StoreError
from .strict_json import parse_json

MAX_IMAGE_BYTES = 1 << 28
MAX_JSON_BYTES = 1 << 18
"""The largest file of facts or of a policy, like that of a manifest."""


def main(arguments: Sequence[str]) -> None:
    """Launch, print why this device gets its model and what it says about an input, and, last, everything as JSON.

    Raises:
        SystemExit: The launch cannot go on; the message is one line.
    """
    options = _parser().parse_args(arguments)
    try:
        given = _given(options)
        folder, engine = options.store or default_store(options.url), OnnxRuntimeEngine()
        store = FolderStore(folder)
        facts = _facts(folder, engine, options.facts)
        policy = _json(options.policy) if options.policy else None
        found = launch(options.url, store, engine, facts, policy, options.now, timeout=options.timeout)
        running = found.running if given is not None else None
        logits = running.logits(given) if running and given is not None else None
        answer = running.decoding.answer(logits, running.labels) if running and logits is not None else None
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        raise SystemExit(f"launch: {printable(place + (error.strerror or str(error)))}") from error
    except (ValueError, MemoryError, LaunchError, StoreError, EngineRefusedError, EngineCrashedError) as error:
        raise SystemExit(f"launch: {printable(str(error))}") from error
    for reason in found.resolution.reasons:
        place = f"{reason.tier}{' ' + reason.model if reason.model else ''}"
        print(printable(f"{place}: {reason.code}: {reason.text}"))
    for event in found.events:
        print(printable(f"{event.code}: {event.text}"))
    if answer is not None and running is not None:
        name = Path(options.image).name if options.image else "the text"
        print(printable(f"{name}: {answer_text(answer, running)} by {found.resolution.model}"))
    print(json.dumps(summary(found, logits, answer)))


def command() -> None:
    """The installed command."""
    main(sys.argv[1:])


def answer_text(answer: Answer, running: Running) -> str:
    """An answer in a few words: `cat (97.0%)`, `price 12.5`."""
    if answer.values:
        named = zip(running.labels, answer.values, strict=True)
        return ", ".join(f"{name} {value:.6g}" for name, value in named)
    shares = dict(zip(running.labels, answer.probabilities, strict=True))
    return ", ".join(f"{name} ({shares[name]:.1%})" for name in answer.labels) or "no label"


def summary(found: Launched, logits: NDArray[np.float32] | None, answer: Answer | None) -> dict[str, Any]:
    """What the last line of the output says, which README.md of the clients defines."""
    resolution, running = found.resolution, found.running
    return {
        "action": resolution.action,
        "tier": resolution.tier,
        "rank": resolution.rank,
        "model": resolution.model,
        "compute_unit": running.compute_unit if running else None,
        "slot": found.slot,
        "release": found.release,
        "label": answer.labels[0] if answer and running and running.decoding.kind == "classes" else None,
        "answer": answer_json(answer) if answer else None,
        "logits_micro": [round(float(logit) * 1e6) for logit in logits] if logits is not None else None,
        "reasons": [[reason.tier, reason.model, reason.code] for reason in resolution.reasons],
        "downloaded_bytes": found.downloaded_bytes,
        "proof": running.proof if running else None,
        "events": [event.code for event in found.events],
        "seconds": {step: round(seconds, 4) for step, seconds in found.seconds.items()},
    }


def answer_json(answer: Answer) -> dict[str, Any]:
    """An answer as README.md of the clients defines it."""
    nano = [round(probability * 1e9) for probability in answer.probabilities]
    return {"labels": list(answer.labels), "probabilities_nano": nano, "values": list(answer.values)}


def default_store(url: str) -> Path:
    """A folder for the models from a URL, in the user's cache."""
    places = {"win32": os.environ.get("LOCALAPPDATA"), "darwin": str(Path.home() / "Library" / "Caches")}
    cache = os.environ.get("XDG_CACHE_HOME") or places.get(sys.platform) or str(Path.home() / ".cache")
    where = url if "://" in url else str(Path(url).resolve())
    return Path(cache) / "model-factory" / "launch" / hashlib.sha256(where.encode()).hexdigest()[:16]


def _given(options: argparse.Namespace) -> Given | None:
    """The image, the text or the tokens of the command line; None if there are none."""
    named = [name for name in ("image", "text", "tokens") if getattr(options, name) is not None]
    if len(named) > 1:
        raise ValueError(f"give one of --{' and --'.join(named)}")
    if options.image:
        return decode_png(read(Path(options.image), MAX_IMAGE_BYTES))
    if options.tokens is not None:
        tokens = [token.strip() for token in options.tokens.split(",") if token.strip()]
        if not all(token.lstrip("-").isdecimal() for token in tokens):
            raise ValueError(f"--tokens {options.tokens[:80]!r} is not a list of integers, such as 5,17,3")
        return [int(token) for token in tokens]
    text: str | None = options.text
    return text


def _facts(folder: Path, engine: Engine, given: str | None) -> DeviceFacts:
    changes = _json(given) if given else {}
    if not isinstance(changes, dict):
        raise ValueError(f"{given} is not a JSON object of facts")
    return device_facts(folder, engine, changes)


def _json(path: str) -> Any:
    return parse_json(read(Path(path), MAX_JSON_BYTES), path)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise SystemExit(f"launch: {message}; see --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="launch", description="Do what an app does at launch, and ask the model.")
    parser.add_argument("command", choices=["launch"], help="what to do")
    parser.add_argument("--url", required=True, help="the folder of the family: a path, or a URL of HTTP")
    parser.add_argument("--store", type=Path, help="the folder for models; default: one per URL in the user's cache")
    parser.add_argument("--image", metavar="PNG", help="an image for the model")
    parser.add_argument("--text", help="a text for the model; needs the package tokenizers")
    parser.add_argument("--tokens", metavar="IDS", help="the tokens of a text, separated by commas")
    parser.add_argument("--facts", metavar="FILE", help="JSON that replaces facts about this device; null: unknown")
    parser.add_argument("--policy", metavar="FILE", help="JSON with revoked models")
    parser.add_argument("--now", type=int, default=int(time.time()), help="seconds since 1970; default: the clock")
    parser.add_argument("--timeout", type=_seconds, default=DEFAULT_TIMEOUT, help="seconds without a byte; default 20")
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 3600 seconds")
    return value
