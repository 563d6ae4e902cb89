"""Vocabularies that a spec gives: their tokens, as they are."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from feature_specs import ColonnadeError, FeatureSpec, Vocabulary


def given_tokens(table: str, encoding: Vocabulary) -> pa.Array:
    """Returns the tokens of a vocabulary that the spec gives, binary, in order; a relative `file` is one of the current folder.

    Raises:
        ColonnadeError: The file cannot be read or is empty, has an empty line or one token twice, or lacks the `oov_token`.
    """
    where = f"The vocabulary of table {table!r}"
    if encoding.tokens is not None:
        tokens = [str(token).encode() for token in encoding.tokens]
    else:
        where = f"Vocabulary file {encoding.file!r} of table {table!r}"
        try:
            with FileSystems.open(encoding.file) as stream:
                content = stream.read()
        except (OSError, BeamIOError) as error:
            problem = " ".join(str(error).split()).rstrip(".")
            raise ColonnadeError(f"{where} cannot be read: {problem}. Give the path of a text file with one token a line.") from error
        tokens = [line.removesuffix(b"\r") for line in content.removesuffix(b"\n").split(b"\n")]
    if tokens == [b""]:
        raise ColonnadeError(f"{where} is empty. Write one token a line.")
    token, count = Counter(tokens).most_common(1)[0]
    if b"" in tokens or count > 1:
        what = f"has an empty line, {tokens.index(b'') + 1}" if b"" in tokens else f"has {token.decode(errors='replace')!r} {count} times"
        raise ColonnadeError(f"{where} {what}. Give each token once, one a line.")
    tokens = tokens[: encoding.max_size]
    if encoding.oov_token is not None and str(encoding.oov_token).encode() not in tokens:
        first = f" among its first {encoding.max_size} tokens" if encoding.max_size else ""
        raise ColonnadeError(f"{where} lacks its oov_token, {encoding.oov_token!r}{first}. Add it, or choose another.")
    return pa.array(tokens, pa.binary())


def check_given(spec: FeatureSpec) -> None:
    """Reads every vocabulary that the spec gives, so that the job does not fail after it has read the rows.

    Raises:
        ColonnadeError: See `given_tokens`.
    """
    for table, encoding in spec.tables.items():
        if isinstance(encoding, Vocabulary) and encoding.is_given:
            given_tokens(table, encoding)
