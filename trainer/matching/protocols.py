"""What a matching model is evaluated against: the names of protocols, and the sentence that goes with their numbers.

Figures of different protocols do not compare: sampled negatives make every model look better, and may even order models in another way
(Krichene and Rendle, "On Sampled Metrics for Item Recommendation", KDD 2020). So a number never goes without its protocol.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from feature_specs.errors import ColonnadeError, did_you_mean
from feature_specs.spec import FeatureSpec

_TIES = "ties count against the positive"


@dataclass(frozen=True)
class Protocol:
    """Which items a user's targets are ranked against.

    Attributes:
        kind: All items ("full"), some drawn ones ("sampled"), or listed ones ("file").
        negatives: How many are drawn for a user (sampled).
        may_be_seen: Whether items that the user has seen are drawn too (sampled).
    """

    kind: Literal["full", "sampled", "file"]
    negatives: int = 0
    may_be_seen: bool = False


def parse_protocol(text: str) -> Protocol:
    """Returns the protocol called `full`, `sampled:N`, `sampled:N:any` or `file`.

    Raises:
        ColonnadeError: There is none of that name.
    """
    if text in ("full", "file"):
        return Protocol(text)  # type: ignore[arg-type]
    found = re.fullmatch(r"sampled:([1-9]\d{0,8})(:any)?", text)
    if found is None:
        hint = did_you_mean(text, ("full", "sampled:100", "sampled:100:any", "file"))
        raise ColonnadeError(
            f"Unknown protocol {text!r}.{hint} Give full (all items), sampled:N (N negatives a user, not seen), sampled:N:any (they may be "
            "seen) or file (the candidates that the data set lists)."
        )
    return Protocol("sampled", int(found[1]), found[2] is not None)


def check_protocols(spec: FeatureSpec, protocols: Sequence[str], cutoffs: Sequence[int]) -> None:
    """Checks how a model is to be evaluated.

    Raises:
        ColonnadeError: A protocol is unknown, or ranks candidates of a file and the data set has none; or a cutoff is no K.
    """
    check_cutoffs(cutoffs)
    for name in protocols:
        if parse_protocol(name).kind == "file" and getattr(spec.split, "candidates", None) is None:
            raise ColonnadeError(
                f"Protocol 'file' ranks candidates that the data set lists, and {spec.name!r} lists none. Name their file in the spec's "
                "split (candidates), or take another protocol: full, or sampled:100."
            )


def check_cutoffs(cutoffs: Sequence[int]) -> None:
    """Checks the K of hit_rate@K and the others.

    Raises:
        ColonnadeError: There is none, or one below 1.
    """
    if not cutoffs or min(cutoffs) < 1:
        raise ColonnadeError(f"Cutoffs are whole numbers from 1 on, at least one. Received {list(cutoffs)}; give for example (10,).")


def protocol_text(protocol: str, split: str, num_items: int, num_short: int = 0) -> str:
    """Returns what `protocol` is, for `result.json`.

    Args:
        protocol: Its name.
        split: Name of the rule that split the data, such as "leave_last_out".
        num_items: Items of the catalogue.
        num_short: Users for whom fewer negatives could be drawn than the protocol says.
    """
    parsed = parse_protocol(protocol)
    corpus = f"{num_items:,} items"
    if parsed.kind == "full":
        against = f"full corpus of {corpus}, seen ones left out"
    elif parsed.kind == "file":
        against = f"the candidates listed for each user in the data set's file, without the positives, of a corpus of {corpus}"
    else:
        which = "the user's targets left out, seen ones not" if parsed.may_be_seen else "seen ones and the user's targets left out"
        fewer = f" (fewer for {num_short:,} users, who have no more left)" if num_short else ""
        against = f"{parsed.negatives:,} distinct negatives a user{fewer}, drawn uniformly from {corpus}, {which}"
    return f"{split} split; {against}; {_TIES}"
