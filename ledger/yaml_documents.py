"""Strict YAML, and a program that turns YAML on its standard input into JSON on its standard output.

A YAML file with 100,000 rules takes seconds to read and its nodes cannot be freed without a long stall, so that large
files are read by a process of their own. It runs this file alone: import nothing of this project here.
"""

import json
import sys
from datetime import date
from typing import Any

import yaml

try:
    from yaml import CSafeLoader as SafeLoader
except ImportError:  # PyYAML was built without libyaml: the same answers, slower.
    from yaml import SafeLoader  # type: ignore[assignment]

EXIT_INVALID = 3
MERGE_TAG = "tag:yaml.org,2002:merge"


class StrictLoader(SafeLoader):
    """Safe YAML that refuses a key given twice, where YAML loaders usually let the last one win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT002
        """Return the mapping of a node. Raises `yaml.YAMLError` for a key given twice."""
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE_TAG:
                continue
            if (key.tag, key.value) in seen:
                problem = f"the key {key.value[:40]!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep=deep)


def load_yaml(body: bytes) -> object:
    """Return the document of a YAML text. Raises `ValueError` saying what and where."""
    try:
        # StrictLoader builds plain values only, as yaml.safe_load does.
        return yaml.load(body, Loader=StrictLoader)  # noqa: S506
    except (yaml.YAMLError, UnicodeError, RecursionError) as error:
        raise ValueError(f"is no YAML: {' '.join(str(error).split()) or type(error).__name__}") from None


def main() -> int:
    """Translate, and say on standard error what is wrong."""
    try:
        text = json.dumps(load_yaml(sys.stdin.buffer.read()), default=_moment_text, check_circular=True)
    except (ValueError, TypeError, RecursionError) as error:
        sys.stderr.write(str(error))
        return EXIT_INVALID
    sys.stdout.write(text)
    return 0


def _moment_text(value: object) -> str:
    """Return what YAML read as a date or a time as text again."""
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"has a value of type {type(value).__name__}, which no rule can have")


if __name__ == "__main__":
    sys.exit(main())
