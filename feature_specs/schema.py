"""Prints the JSON Schema of specs, with which an editor completes a spec file: `python -m feature_specs.schema > spec.schema.json`."""

from __future__ import annotations

import json

from feature_specs.command import CommandParser, run_command
from feature_specs.spec import FeatureSpec


def main(arguments: list[str] | None = None) -> None:
    """Runs the command."""
    CommandParser("python -m feature_specs.schema", "Prints the JSON Schema of a spec file.").parse_all(arguments)
    print(json.dumps(FeatureSpec.model_json_schema(), indent=2))


if __name__ == "__main__":
    run_command(main)
