"""Random changes to a file of any format: bits, slices, tokens and JSON values, and hostile values in their place."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from typing import Any

HOSTILE_TEXT = (
    "", "null", "true", "-1", "0", "1e999", "-1e308", "NaN", ".inf", "9" * 5000, "18446744073709551616", "2.5", "[]",
    "{}", '"x"', "[" * 3000, "{a: " * 300, "../../../etc/passwd", "/dev/zero", "\x1b[31mred", "line\nbreak", "\u202e",
    "\x00", "\U0001f600", "&a [*a]", "!!python/name:os.system", "<<", "%n%s{0}", "[/red]", "x" * 70000, "\\ud800",
)  # fmt: skip
HOSTILE_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, 2**64, 10**400, 1e308, 5e-324, "", "x", "../../x", "/etc/passwd", "\x1b[2J\n",
    "\x00", "x" * 9000, [], {}, [[]], [None], {"": None}, {"a": {"b": {}}}, [1] * 3000,
)  # fmt: skip
TOKEN = re.compile(rb"[A-Za-z_]+|-?[0-9][0-9.eE+-]*|\"[^\"\n]*\"")


def mutated(data: bytes, rng: random.Random) -> bytes:
    """`data` with one to three random changes."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        data = rng.choice((flip, cut, repeat, insert, replace_token, replace_token, change_json, change_json))(
            data, rng
        )
    return data


def flip(data: bytes, rng: random.Random) -> bytes:
    """One to eight bits flipped, mostly near the beginning, where headers are."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        if changed:
            changed[min(len(changed) - 1, int(rng.random() ** 3 * len(changed)))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(data: bytes, rng: random.Random) -> bytes:
    """The end, or a slice, left out."""
    start = rng.randint(0, len(data))
    return data[:start] if rng.random() < 0.5 else data[:start] + data[start + rng.randint(1, 100) :]


def repeat(data: bytes, rng: random.Random) -> bytes:
    """A slice, or a line, repeated."""
    start = rng.randint(0, len(data))
    return data[:start] + data[start : start + rng.randint(1, 200)] * rng.choice((1, 2, 50)) + data[start:]


def insert(data: bytes, rng: random.Random) -> bytes:
    """A hostile text anywhere."""
    start = rng.randint(0, len(data))
    return data[:start] + rng.choice(HOSTILE_TEXT).encode("utf-8", "surrogatepass") + data[start:]


def replace_token(data: bytes, rng: random.Random) -> bytes:
    """A word, number or string replaced by a hostile text, or by another one."""
    tokens = list(TOKEN.finditer(data[:100_000]))
    if not tokens:
        return insert(data, rng)
    token = rng.choice(tokens)
    other = rng.choice(tokens)[0] if rng.random() < 0.3 else rng.choice(HOSTILE_TEXT).encode("utf-8", "surrogatepass")
    return data[: token.start()] + other + data[token.end() :]


def change_json(data: bytes, rng: random.Random) -> bytes:
    """A value of a JSON document replaced, removed, repeated or nested; other files are changed by their tokens."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return replace_token(data, rng)
    holders = [value for value in containers(document) if value]
    if not holders:
        return replace_token(data, rng)
    holder = rng.choice(holders)
    key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    action = rng.randrange(4)
    if action == 0:
        del holder[key]
    elif action == 1 and isinstance(holder, dict):
        holder[rng.choice(("x", "", key + "2"))] = holder[key]
    elif action == 2:
        holder[key] = [holder[key]]
    else:
        holder[key] = rng.choice(HOSTILE_VALUES)
    return json.dumps(document).encode()


def containers(value: Any) -> Iterator[Any]:
    """All objects and lists of a JSON value."""
    if isinstance(value, dict | list):
        yield value
        for part in value.values() if isinstance(value, dict) else value:
            yield from containers(part)
