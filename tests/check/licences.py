#!/usr/bin/env python3
"""Refuses a dependency whose licence deny.toml does not allow. Reads `cargo metadata`; needs no network."""
import json
import re
import subprocess
import sys
import tomllib

allowed = set(tomllib.load(open("deny.toml", "rb"))["licenses"]["allow"])


def permitted(expression: str) -> bool:
    """Evaluates an SPDX expression: `OR` gives a choice, `AND` demands both."""
    tokens = re.findall(r"\(|\)|[^\s()/]+|/", expression.replace("/", " OR "))
    words, i = [], 0
    while i < len(tokens):
        if tokens[i] in ("(", ")"):
            words.append(tokens[i])
        elif tokens[i].upper() in ("OR", "AND"):
            words.append(tokens[i].lower())
        else:
            name = tokens[i]
            if tokens[i + 1 : i + 2] == ["WITH"]:
                name = f"{name} WITH {tokens[i + 2]}"
                i += 2
            words.append(str(name in allowed))
        i += 1
    return bool(eval(" ".join(words), {"__builtins__": {}}))


command = ["cargo", "metadata", "--format-version", "1", "--offline", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"]
metadata = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
bad = [
    f"{p['name']} {p['version']}: {p['license']}"
    for p in metadata["packages"]
    if p["source"] and not (p["license"] and permitted(p["license"]))
]
if bad:
    sys.exit("licences that deny.toml does not allow:\n  " + "\n  ".join(bad))
print(f"licences: {len(metadata['packages'])} packages, all allowed")
