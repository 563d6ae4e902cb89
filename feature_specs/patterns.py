r"""Regular expressions in specs: what Python's `re` and RE2, which the transform graph runs, read alike.

Where a valid pattern means two things, RE2 has the say: `\d`, `\w`, `\s` and `\b` are ASCII, and `$` is the very end of the text, unless
`(?m)` makes it the end of a line.
"""

from __future__ import annotations

import re
import warnings

_LARGEST_REPETITION = 1000  # of RE2
# An escaped character and a set are passed over whole, so that `\(?=` is no lookahead, and neither is `[(?=]`.
_CONSTRUCTS = re.compile(
    r"""(?P<lookaround>\(\?<?[=!])
    |(?P<backreference>\\[1-9]|\(\?P=)
    |(?P<conditional>\(\?\()
    |(?P<atomic>\(\?>|[*+?]\+|\{\d+(?:,\d*)?\}\+)
    |(?P<comment>\(\?\#)
    |(?P<flag>\(\?[ims-]*[aLux])
    |(?P<open>\{,\d*\})
    |\{(?P<least>\d+)(?:,(?P<most>\d*))?\}
    |(?P<escape>\\[ZuUN]|\\[^\x00-\x7f])
    |\\.
    |(?P<set>\[\^?\]?(?:\\.|[^\\\]])*\])""",
    re.VERBOSE | re.DOTALL,
)
_ONLY_IN_PYTHON = {
    "lookaround": "lookaround. Match what is around the group outside of it",
    "backreference": "a backreference (or an octal number: \\x53 is fine). Leave it out",
    "conditional": "a condition on a group. Use alternatives, a|b",
    "atomic": "an atomic group or possessive repetition. Use the plain one: RE2 never backtracks",
    "comment": "a comment. Leave it out",
    "flag": "a flag other than i, m and s. Leave it out",
    "open": "a repetition without its least number. Write {0,n}",
    "escape": "this escape. Write the character itself, and $ for the end",
}
_SET_ESCAPES = re.compile(r"\\[bBAZuUN1-9]|\\[^\x00-\x7f]|\[:")


def problem_of(pattern: str) -> str | None:
    """Returns what keeps `pattern` from being an extraction, and how to mend it, as a sentence; None for a good one."""
    for found in _CONSTRUCTS.finditer(pattern):
        kind = next((name for name in _ONLY_IN_PYTHON if found[name] is not None), None)
        if kind is not None:
            return f"'{found[0]}' in the pattern '{pattern}' is not read by RE2: {_ONLY_IN_PYTHON[kind]}."
        if max(int(found["least"] or 0), int(found["most"] or 0)) > _LARGEST_REPETITION:
            return f"'{found[0]}' in the pattern '{pattern}' repeats more than {_LARGEST_REPETITION} times, RE2's limit. Use * or +."
        if found["set"] and (inside := _SET_ESCAPES.search(found[0])):
            return f"'{inside[0]}' in the set '{found[0]}' of the pattern '{pattern}' is read by RE2 in another way. List the characters."
    try:
        with warnings.catch_warnings():
            # Python warns of sets that it means to read in another way one day.
            warnings.simplefilter("error")
            groups = re.compile(pattern, re.ASCII).groups
    except (re.error, OverflowError, RecursionError, Warning) as error:
        return f"the pattern '{pattern}' is no regular expression: {error}. Correct it."
    if groups != 1:
        return (
            f"the pattern '{pattern}' should have one group, the part to take, in parentheses. Received: {groups} groups. Write (?:...) "
            "for parentheses that only hold together, and \\( for a bracket in the text."
        )
    return None


def extracts_from(pattern: str, text: str) -> bool:
    """Whether a good pattern extracts something from a text."""
    found = re.search(pattern, text, re.ASCII)
    return bool(found and found[1])
