"""Puts a proposed spec together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from feature_specs.errors import ColonnadeError, did_you_mean
from feature_specs.inference.choose import Choice, Chooser
from feature_specs.inference.keys import choose_history, choose_keys, choose_split
from feature_specs.inference.labels import LabelChoice, choose_label
from feature_specs.inference.leaks import Judge
from feature_specs.inference.profile import Profile
from feature_specs.inference.sample import Sample
from feature_specs.inference.writing import commands, comment, feature_lines, flow
from feature_specs.sources import TextTable
from feature_specs.spec import FeatureSpec


@dataclass(frozen=True)
class Request:
    """What the user asks for.

    Attributes:
        inputs: Paths, folders and globs, as they were typed.
        label: The label's column; none where every row is a positive.
        positive: Values of the label that are positive.
        keys: Columns by role ("user", "item", "time").
        name: Of the spec; that of the first file where not given.
        spec_file: Where the spec goes, for the commands that are shown.
    """

    inputs: tuple[str, ...]
    label: str | None
    positive: tuple[str, ...]
    keys: Mapping[str, str | None]
    name: str | None
    spec_file: str


@dataclass
class Proposal:
    """The YAML text, and what a person should be told at once."""

    text: str
    warnings: list[str]


def propose(request: Request, files: Sequence[Path], sample: Sample) -> Proposal:
    """Returns a spec for the sample, with comments.

    Raises:
        ColonnadeError: The label or a key is not there, or nothing is left to learn from.
    """
    profiles = {name: Profile.of(name, values) for name, values in sample.columns.items()}
    label = _label(request, profiles)
    columns = {name: profile for name, profile in profiles.items() if name != request.label}
    if not columns:
        raise ColonnadeError(f"{files[0].name!r} has no column beside the label {request.label!r}: there is nothing to learn from.")
    keys, keys_reason = choose_keys(columns, request.keys)
    roles = {column: role for role, column in keys.items()}
    chooser = Chooser(Judge(label.positive), sample.complete)
    choices = [chooser.choose(profile, roles.get(name, "")) for name, profile in columns.items()]
    kept = [feature for choice in choices for feature in choice.features if not choice.is_leak]
    if not kept:
        reasons = "; ".join(f"{choice.profile.name!r}: {choice.comment}" for choice in choices[:5])
        raise ColonnadeError(f"No column of {files[0].name!r} is left to learn from. {reasons}. Give more columns or rows.")
    history = choose_history(kept, keys)
    name = request.name or re.sub(r"\W+", "_", files[0].name.split(".")[0], flags=re.ASCII).strip("_") or "my_data"
    split, split_reason = choose_split(files, keys)
    parts = [_head(request, files, sample, name, label.missing_share), "", f"name: {flow(name).removesuffix('...').strip()}", "features:"]
    for choice in choices:
        parts += [comment(f"{choice.profile.name}: {choice.comment}."), *feature_lines(choice.features, commented=choice.is_leak)]
    if history:
        said = "The items of the user's earlier rows, of the training split alone; the job collects them."
        parts += [comment(said), *feature_lines([history], commented=False)]
    parts += [comment(f"The label: {label.reason}."), f"label: {flow(label.tree)}"]
    if keys:
        parts += [comment(f"Keys: {keys_reason}."), f"keys: {flow(keys)}"]
    else:
        parts.append(comment(f"Keys: {keys_reason}."))
    parts += [comment(f"Split: {split_reason}."), f"split: {flow(split)}"]
    parts += _negatives(request, keys)
    table = sample.table.model_dump(mode="json", exclude_defaults=True)
    if isinstance(sample.table, TextTable):
        table = {"delimiter": sample.table.delimiter, "header": sample.table.header} | table
        table.pop("format")
    parts += [comment(f"Source: {_source_reason(sample)}."), "source:", f"  rows: {flow(table)}", ""]
    text = "\n".join(parts)
    FeatureSpec.from_yaml(text, "the proposed spec")
    return Proposal(text, _warnings(choices, sample))


def _label(request: Request, profiles: Mapping[str, Profile]) -> LabelChoice:
    if request.label is None:
        rows = len(next(iter(profiles.values())).values) if profiles else 0
        return LabelChoice({"implicit": True}, "every row is a 1, as in a log of clicks; the sampled negatives bring the 0s", [None] * rows)
    if request.label not in profiles:
        hint = did_you_mean(request.label, profiles)
        raise ColonnadeError(f"--label names no column: {request.label!r}.{hint} There are: {', '.join(profiles)}.")
    profile = profiles[request.label]
    if profile.lists is not None or profile.is_nested:
        raise ColonnadeError(f"Label column {request.label!r} has lists or objects. A label is one value a row.")
    choice = choose_label(profile, request.positive)
    choice.missing_share = sum(value is None for value in choice.positive) / profile.rows
    if choice.missing_share:
        choice.reason += f". {choice.missing_share:.2%} of the rows have none and are set aside"
    return choice


def _head(request: Request, files: Sequence[Path], sample: Sample, name: str, unlabelled: float) -> str:
    read = f"all {sample.rows:,} rows" if sample.complete else f"the first {sample.rows:,} rows"
    if len(files) > 1 and not sample.complete:
        read = f"the first rows of each file, {sample.rows:,} together,"
    if not sample.complete and sample.total:
        read += f" of about {sample.total:,}"
    shown = ", ".join(path.name for path in files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
    said = f"Proposed by python -m feature_specs.infer from {read} of {shown}. Every choice is yours: docs/features.md shows all kinds."
    if not sample.complete:
        said += " Shares and counts are of the rows read; --rows 0 reads all."
    notes = list(sample.remarks)
    if sample.skipped:
        notes.append(f"Rows that could not be read: {sample.skipped:,}. The job sets such rows aside and says why.")
    rejected = unlabelled + sample.skipped / (sample.rows + sample.skipped)
    return "\n".join([commands(request.spec_file, name, request.inputs, rejected), "#", *(comment(text) for text in (said, *notes))])


def _negatives(request: Request, keys: Mapping[str, str]) -> list[str]:
    if request.label is not None:
        return []
    if not {"user", "item"} <= set(keys):
        raise ColonnadeError("--implicit needs negatives, which are items that the user has not: name the columns with --user and --item.")
    said = (
        "Negatives: for each row, 4 with an item that the user has in no row. Name the item's other columns in `resample`, so that they "
        "follow it."
    )
    return [comment(said), f"negatives: {flow({'per_positive': 4})}"]


def _source_reason(sample: Sample) -> str:
    table = sample.table
    if isinstance(table, TextTable):
        quoting = "double quotes protect values" if table.quoting else "quotes are ordinary characters"
        header = "with a header" if table.header else "without a header"
        return f"text with delimiter {table.delimiter!r}, {quoting}, {header}. --input names the files"
    return f"{table.format.replace('_', ' ')}. --input names the files"


def _warnings(choices: Sequence[Choice], sample: Sample) -> list[str]:
    found = [
        f"SUSPECTED LEAK: {c.profile.name!r} alone predicts the label (see the spec); it is left out. Take the comment sign away if it is "
        "known before the label."
        for c in choices
        if c.is_leak
    ]
    if sample.skipped > 0.01 * sample.rows:
        found.append(f"{sample.skipped:,} of {sample.rows + sample.skipped:,} rows cannot be read with the proposed source.")
    return found
