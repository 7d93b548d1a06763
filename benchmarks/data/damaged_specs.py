"""Damaged specs: values of YAML that a spec does not expect, keys that are wrong, missing or there twice, damaged bytes."""

import json
import random
from typing import Any

import yaml

from benchmarks.data.damaged_bytes import befall_bytes

#: What YAML can hold and a spec should not.
_ODD_YAML = (
    "null",
    "~",
    "[]",
    "{}",
    "''",
    "' '",
    "0",
    "-1",
    "1.5",
    ".nan",
    ".inf",
    "1e400",
    "0x10",
    "0o17",
    "1:30",
    "yes",
    "off",
    "2024-01-01",
    "2024-13-45",
    "!!binary aGk=",
    "!!python/object:os.system x",
    "!!set {a, b}",
    "!!omap [a: 1]",
    "!!float x",
    "!!int x",
    "!!timestamp x",
    "!!bool maybe",
    "&a [*a]",
    "*nowhere",
    "[" * 2_000,
    "[" * 500 + "]" * 500,
    "{a: {b: {c: [1, {d: 2}]}}}",
    "99999999999999999999999999999999",
    '"\\0"',
    '"\\ud800"',
    '"a\\nb"',
    '"\\x1b[31m"',
    "'${HOME_OF_NOBODY}'",
    "'${X:-${X}}'",
    "'~nobody/x'",
    "'*'",
    "'[a'",
    "'**'",
    "'file://host/x'",
    "'ftp://x/y'",
    "'s3://'",
    "'a\tb'",
    "é",
    "日本語",
    "x" * 5_000,
    "hex",
    "rot13",
    "idna",
    "punycode",
    "undefined",
    "utf-7",
    "utf-16",
    "utf-32",
    "cp037",
    "unicode_escape",
    "raw_unicode_escape",
    "mbcs",
    "base64",
    "zlib",
    "'\"'",
    "'\\r'",
    "'\\n'",
    '"\\r"',
    '"\\n"',
    "'::'",
    "'|'",
    "json",
    "[ts, user]",
    "[a, a]",
    "[1, 2]",
    "[ts, user, ad, age, slot, tags, title, req, clicked]",
    "'x > '",
    "'age > 1 and 2'",
    "'slot == '''",
    "'age != nan'",
    "'age > 1e999'",
    "'age > 99999999999999999999'",
    "ts",
    "user",
    "ad",
    "age",
    "clicked",
    "log.csv",
    "AGE",
    "row_id",
    "label",
    "parquet",
    "jsonl",
    "tsv",
    "random",
    "column",
    "iso",
    "ns",
    "us",
    "ms",
    "s",
    "numeric",
    "text",
    "multivalued",
    "item",
    "3650000",
    "0001-01-01",
    "9999-12-31",
    "2024-01-01T00:00:00+23:59",
    "&x {<<: *x}",
    "? [a]\n  : b",
)
_MORE_KEYS = (
    "source: {delimiter: %s}",
    "source: {encoding: %s}",
    "source: {format: %s}",
    "source: {header: %s}",
    "source: {columns: %s}",
    "timestamp: {missing: %s}",
    "label: {rule: %s}",
    "label: {drop: %s}",
    "split: {by: %s}",
    "split: {column: %s}",
    "split: {negatives: %s}",
    "split: {valid: %s}",
    "split: {seed: %s}",
    "window: {days: %s}",
    "timestamp: {unit: %s}",
    "run: %s",
    "run: {seed: %s}",
    "tables: %s",
    "tables: {users: {path: log.csv, key: %s}}",
    "tables: {users: {path: log.csv, timestamp: %s}}",
    "description: %s",
    "tables: {items: {path: %s, key: ad}}",
    "label: {clicks: {path: log.csv, request: %s, timestamp: ts, unit: iso}}",
    "label: {clicks: {path: log.csv, request: req, timestamp: %s, unit: iso, within: %s}}",
)


def befall_spec(draw: random.Random, content: dict[str, Any], document: bytes, damages: list[str]) -> bytes:
    """Odd values, keys that are wrong, missing or there twice, and damaged bytes.

    Args:
        draw: Of chance.
        content: The spec.
        document: The spec as YAML.
        damages: Takes what was done.
    """
    what = draw.choice(("value", "value", "value", "more", "more", "more", "bytes", "twice", "missing", "other"))
    damages.append(f"spec: {what}")
    lines = document.decode().splitlines()
    at = draw.randrange(len(lines))
    if what == "value":
        for _ in range(draw.choice((1, 1, 2))):
            at = draw.randrange(len(lines))
            lines[at] = lines[at].split(": ")[0].rstrip(":") + f": {draw.choice(_ODD_YAML)}"
    elif what == "more":
        added = draw.choice(_MORE_KEYS)
        value = draw.choice(_ODD_YAML)
        key, _, rest = added.replace("%s", "\0").partition(": ")
        if rest.startswith("{") and isinstance(content.get(key), dict):
            inner, _, form = rest[1:-1].partition(": ")
            lines = yaml.safe_dump({name: held for name, held in content.items() if name != key}, sort_keys=False).splitlines()
            kept = {name: held for name, held in content[key].items() if name != inner and (key != "label" or inner == "drop")}
            lines += [f"{key}:", *(f"  {name}: {json.dumps(held)}" for name, held in kept.items())]
            lines.append(f"  {inner}: {form.replace(chr(0), value)}")
        else:
            lines.append(f"{key}: {rest.replace(chr(0), value)}")
    elif what == "twice":
        lines.insert(draw.randrange(len(lines)), lines[at])
    elif what == "missing":
        del lines[at]
    elif what == "other":
        laughs = "a: &a [x, x]\nb: &b [*a, *a]\n" + "".join(
            f"{chr(99 + i)}: &{chr(99 + i)} [*{chr(98 + i)}, *{chr(98 + i)}]\n" for i in range(20)
        )
        odd = (
            b"",
            b"\x00",
            b"- a\n- b\n",
            b"text",
            b"---\na: 1\n---\nb: 2\n",
            b"\xff\xfe" + document,
            b"%YAML 9.9\n---\na: 1",
            b"{" * 3_000,
        )
        return draw.choice((*odd, laughs.encode(), document + laughs.encode(), draw.randbytes(500), b"\t" + document))
    stored = "\n".join(lines).encode("utf-8", "surrogatepass")
    return befall_bytes(draw, stored, damages) if what == "bytes" else stored
