"""Every kind of feature with every option of it, on eight rows: what the raw column holds, and what has to become of it.

A kind, an option or a choice that is missing here fails `test_every_kind.py`.
"""

from __future__ import annotations

import math

import numpy as np
from cases import Case, crosses, hashed, single

# Rows 0 to 5 are for training, 6 and 7 for test. Rows 4 and 5 happened at the same moment.
USERS = "u u u w w w u w".split()
TIMES = "100 200 300 100 200 200 400 150".split()
LABELS = "1 0 1 0 1 0 1 0".split()
VOCABULARY = b"one\ntwo\nthree\n"
VECTORS = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], np.float32)
VECTOR_TOKENS = b"green\nunknown\n"

WORDS = "b a b a b c a z".split()
AGES = [0, 1, 1, 3, 2, None, 3, None]  # buckets
TAGS = [["b", "c"], ["a"], [], ["c", "b"], ["b", "c"], ["a", "a"], ["z", "a"], []]
LEVELS = [0, 1, 2, 3, None, -7, 1, 0]
DEVICES = "tv pc  tv pc tv pc box".split(" ")
Z, LN = -5.199337, math.log1p

CASES = {
    # numeric: mean, deviation, extremes and ranks are those of the rows 0 to 5.
    "plain": Case(
        "{kind: numeric, column: plain number, scaling: none, default: 7, missing_indicator: true, on_invalid: missing}",
        "1,2.5,,nan,-3,x,1e3,",
        {"plain": [1, 2.5, 7, 7, -3, 7, 1000, 7], "plain_missing": [0, 0, 1, 1, 0, 1, 0, 1]},
    ),
    "mean": Case("{kind: numeric, scaling: none}", "1,3,,2,,2,10,", {"mean": [1, 3, 2, 2, 2, 2, 10, 2]}),
    "z": Case(
        "{kind: numeric, scaling: z_score, embedding_dim: 3, initializer: {type: uniform}}",
        "1,3,1,3,1,3,5,",
        {"z": [-1, 1, -1, 1, -1, 1, 3, 0]},
    ),
    "logged": Case("{kind: numeric, scaling: log1p}", "0,1.7182818,-5,0,0,0,19.085537,", {"logged": [0, 1, 0, 0, 0, 0, 3, 0]}),
    "ranged": Case(
        "{kind: numeric, scaling: min_max, representation: value}", "0,10,5,2,10,0,20,-5", {"ranged": [0, 1, 0.5, 0.2, 1, 0, 1, 0]}
    ),
    # Of five numbers, 2 has the rank 1/4 and 3.5 the rank 5/8; a missing one is the mean, 3.
    "ranked": Case(
        "{kind: numeric, scaling: quantile_normal}",
        "1,2,3,4,5,,3.5,99",
        {"ranked": [Z, -0.6744898, 0, 0.6744898, -Z, 0, 0.3186394, -Z]},
    ),
    "vector": Case(
        "{kind: numeric, size: 2, delimiter: ';', missing_indicator: true}",
        "1;10,3;20,1;10,3;20,1;10,3;20,5;,",
        {"vector": [[-1, -1], [1, 1], [-1, -1], [1, 1], [-1, -1], [1, 1], [3, 0], [0, 0]], "vector_missing": [0, 0, 0, 0, 0, 0, 1, 1]},
    ),
    # numeric_sequence: 99 is cut off and not seen.
    "amounts": Case(
        "{kind: numeric_sequence, delimiter: ' ', scaling: min_max, max_length: 2, keep: first, padding: left, combiner: sum, "
        "representation: value}",
        "0 10 99,5,,10 0,2,4,20 5,-1",
        {"amounts": [[0, 1], [0.5], [], [1, 0], [0.2], [0.4], [1, 0.5], [0]]},
    ),
    "past": Case(
        "{kind: numeric_sequence, history_of: z, scaling: none, keep: last, combiner: mean, embedding_dim: 2, initializer: {type: normal}}",
        None,
        {"past": [[], [1], [1, 3], [], [3], [3], [1, 3, 1], [3]]},
    ),
    "gaps": Case(
        "{kind: numeric_sequence, time_gaps: true, scaling: log1p, max_length: 2, combiner: sqrtn}",
        None,
        {"gaps": [[], [LN(100)], [LN(200), LN(100)], [], [LN(100)], [LN(100)], [LN(200), LN(100)], [LN(50)]]},
    ),
    "attended_numbers": Case(
        "{kind: numeric_sequence, scaling: z_score, combiner: attention}",
        "1|3,1|3,1,3,1|3,1|3,5,",
        {"attended_numbers": [[-1, 1], [-1, 1], [-1], [1], [-1, 1], [-1, 1], [3], []]},
    ),
    "ranked_numbers": Case(
        "{kind: numeric_sequence, scaling: quantile_normal, padding: right, on_invalid: missing, column: 'ranked-numbers'}",
        "1|2,3,x|4,5,,,9|3.5,",
        {"ranked_numbers": [[Z, -0.6744898], [0], [0.6744898], [-Z], [], [], [-Z, 0.3186394], []]},
    ),
    # bucketized: a boundary belongs to the bucket above it.
    "age": Case("{kind: bucketized, boundaries: [0, 10, 20]}", "-1,0,9.5,20,10,,1e9,nan", {"age": [1, 2, 2, 4, 3, 0, 4, 0]}),
    # Quantiles 1, 1 and 1.75: the buckets between equal ones are empty.
    "cut": Case(
        "{kind: bucketized, quantiles: 4, default: 1, representation: indicator, on_invalid: missing, column: the-cut}",
        "1,1,1,1,2,3,0,?",
        {"cut": [3, 3, 3, 3, 4, 4, 1, 3]},
    ),
    "cut_options": Case(
        "{kind: bucketized, boundaries: [2], embedding_dim: 4, initializer: {type: constant, value: 0.5}, l2: 0.1, trainable: false, "
        "max_norm: 1.0}",
        "1,2,3,1,2,3,1,",
        {"cut_options": [1, 2, 2, 1, 2, 2, 1, 0]},
    ),
    # categorical: b three times, a twice; c is too rare.
    "word": Case(
        "{kind: categorical, encoding: {type: vocabulary, min_count: 2, num_oov_buckets: 2}, embedding_dim: 6, "
        "initializer: {type: normal, stddev: 0.1, truncated: true}, l2: 0.001, max_norm: 2.0}",
        ",".join(WORDS),
        {"word": [1, 2, 1, 2, 1, 2 + hashed("c", 2), 2, 2 + hashed("z", 2)]},
    ),
    "top": Case(
        "{kind: categorical, encoding: {type: vocabulary, max_size: 1}, representation: indicator, default: y, column: the top, "
        "on_invalid: reject}",
        "x,x,y,,x,y,x,n",
        {"top": [2, 2, 1, 1, 2, 1, 2, 2]},  # a tie goes to the larger bytes
    ),
    "given": Case(
        "{kind: categorical, encoding: {type: vocabulary, tokens: [red, green, 5], num_oov_buckets: 0}, trainable: false, "
        "pretrained: {file: vectors.npy, tokens: vectors.txt}}",
        "red,green,5,blue,,red,5,zz",
        {"given": [1, 2, 3, 0, 0, 1, 3, 0]},
    ),
    "fallback": Case(
        "{kind: categorical, encoding: {type: vocabulary, tokens: [other, red], oov_token: other, num_oov_buckets: 0}}",
        "red,blue,other,red,,red,5,zz",
        {"fallback": [2, 1, 1, 2, 0, 2, 1, 1]},
    ),
    "listed": Case(
        "{kind: categorical, encoding: {type: vocabulary, file: words.txt, max_size: 2}}",
        "two,one,three,,one,one,two,4",
        {"listed": [2, 1, 3, 0, 1, 1, 2, 3]},
    ),
    "same_list": Case("{kind: categorical, table: listed}", "one,two,,,,,nine,", {"same_list": [1, 2, 0, 0, 0, 0, 3, 0]}),
    "hashed": Case(
        "{kind: categorical, encoding: {type: hash, num_buckets: 5}}",
        ",".join(WORDS[:-1]) + ",",
        {"hashed": [hashed(word, 5) for word in WORDS[:-1]] + [0]},
    ),
    "level": Case(
        "{kind: categorical, dtype: int64, encoding: {type: identity, num_buckets: 3}}",
        "0,1,2,3,-1,-7,1,0",
        {"level": [1, 2, 3, 4, 0, 4, 2, 1]},
    ),
    "strict": Case(
        "{kind: categorical, dtype: int64, encoding: {type: identity, num_buckets: 3, out_of_range: reject}}",
        "0,1,2,,-1,2,1,0",
        {"strict": [1, 2, 3, 0, 0, 3, 2, 1]},
    ),
    "hour": Case(
        "{kind: categorical, column: moment, dtype: int64, derive: {type: hour}, encoding: {type: identity, num_buckets: 24}}",
        "0,3599,3600,86399,,0,7200,86400",
        {"hour": [1, 1, 2, 24, 0, 1, 3, 1]},
    ),
    # 1970-01-01 was a Thursday.
    "weekday": Case(
        "{kind: categorical, column: moment, dtype: int64, derive: {type: weekday}, encoding: {type: identity, num_buckets: 7}}",
        None,
        {"weekday": [4, 4, 4, 4, 0, 4, 4, 5]},
    ),
    "prefix": Case(
        "{kind: categorical, derive: {type: prefix, length: 2}, encoding: {type: vocabulary}}",
        "abc,abd,x,abc,,ab,abz,y",
        {"prefix": [1, 1, 2, 1, 0, 1, 1, 3]},
    ),
    # 2009 and 2001 twice; what does not match is missing, not unknown.
    "year": Case(
        r"{kind: categorical, column: film title, derive: {type: extract, pattern: '\((\d{4})\)$'}, encoding: {type: vocabulary}}",
        "Up (2009),Up (2009),A (1999) (2001),no year,,Café (2001),(2009),Z (1900)",
        {"year": [1, 1, 2, 0, 0, 2, 1, 3]},
    ),
    # Values without a match are left out before the list is cut.
    "makers": Case(
        "{kind: multi_valued, max_length: 2, keep: last, default: 'b:1', derive: {type: extract, pattern: '^(.*?):'}, "
        "encoding: {type: hash, num_buckets: 5}}",
        "a:1|b:2|c,?|:,,a:1|b:2|c:3,b:9:8,x|a:5,c:1,c",
        {"makers": [[hashed(maker, 5) for maker in makers] for makers in ("ab", "b", "b", "bc", "b", "a", "c", "b")]},
    ),
    # multi_valued: c is the third value of row 0; z is out of the vocabulary.
    "tags": Case(
        "{kind: multi_valued, weights: tag weights, max_length: 2, keep: last, combiner: sqrtn, "
        "encoding: {type: vocabulary, tokens: [a, b, c]}, embedding_dim: 3, initializer: {type: uniform, limit: 0.1}}",
        "a|b|c,a,,c||b,b|c,a|a,z|a,",
        {
            "tags": [[2, 3], [1], [], [3, 2], [2, 3], [1, 1], [4, 1], []],
            "tags_weights": [[2, 3], [0.5], [], [4, 6], [1, 2], [1, 1], [1, 2], []],
        },
        weights="1|2|3,0.5,,4|5|6,|2,,1|2,9",
    ),
    "colors": Case(
        "{kind: multi_valued, delimiter: ' ', combiner: attention, encoding: {type: hash, num_buckets: 4}, on_invalid: missing, "
        "column: the-colors, l2: 0.01}",
        "red blue,red,,,green,red,red blue red,?",
        {
            "colors": [
                [hashed(color, 4) for color in colors.split()]
                for colors in ("red blue", "red", "", "", "green", "red", "red blue red", "?")
            ]
        },
    ),
    "sizes": Case(
        "{kind: multi_valued, dtype: int64, max_length: 2, keep: first, combiner: sum, default: 1, max_norm: 1.0, "
        "encoding: {type: identity, num_buckets: 3}}",
        "0|1|2,2,,-1,2|2,1,9|0,",
        {"sizes": [[1, 2], [3], [2], [2], [3, 3], [2], [4, 1], [2]]},
    ),
    # Unknown tokens are missing, and a list has none of these.
    "shapes": Case(
        "{kind: multi_valued, combiner: mean, representation: indicator, encoding: {type: vocabulary, tokens: [x, y], num_oov_buckets: 0}}",
        "x|y|y,q|x,q,,y,x,x|q|y,",
        {"shapes": [[1, 2, 2], [1], [], [], [2], [1], [1, 2], []]},
    ),
    "frozen": Case(
        "{kind: multi_valued, trainable: false, table: frozen_table, derive: {type: prefix, length: 1}, "
        "encoding: {type: vocabulary, tokens: [x, y]}, pretrained: {file: vectors.parquet}}",
        "xa|ya,,,x,y,z,x,",
        {"frozen": [[1, 2], [], [], [1], [2], [3], [1], []]},
    ),
    # sequence
    "clicks": Case(
        "{kind: sequence, dtype: int64, delimiter: ' ', max_length: 3, keep: first, padding: left, combiner: attention, "
        "column: click-list, on_invalid: missing, default: 2, encoding: {type: identity, num_buckets: 9}}",
        "1 2 3 4,5,,8 x 7,0,9,-1 3,",
        {"clicks": [[2, 3, 4], [6], [3], [9, 8], [1], [10], [4], [3]]},
    ),
    "baskets": Case(
        "{kind: sequence, delimiter: ';', value_delimiter: ' ', max_length: 2, keep: last, combiner: sum, "
        "encoding: {type: vocabulary, tokens: [a, b, c, d, e]}, embedding_dim: 2, initializer: {type: constant}}",
        "a b;c;d e,a,,;;b,c;;a b,d,e d;a,",
        {
            "baskets": [[3, 4, 5], [1], [], [2], [3, 1, 2], [4], [5, 4, 1], []],
            "baskets_steps": [[0, 1, 1], [0], [], [0], [0, 1, 1], [0], [0, 0, 1], []],
        },
    ),
    "history": Case(
        "{kind: sequence, history_of: word, table: word, padding: right, combiner: mean}",
        None,
        {"history": [[], [1], [1, 2], [], [2], [2], [1, 2, 1], [2]]},
    ),
    "visits": Case(
        "{kind: sequence, combiner: sqrtn, representation: indicator, derive: {type: prefix, length: 1}, "
        "encoding: {type: hash, num_buckets: 3}, l2: 0.1}",
        "aa|b,,c,,a,b,cc|b,",
        {
            "visits": [
                [hashed("a", 3), hashed("b", 3)],
                [],
                [hashed("c", 3)],
                [],
                [hashed("a", 3)],
                [hashed("b", 3)],
                [hashed("c", 3), hashed("b", 3)],
                [],
            ]
        },
    ),  # fmt: skip
    "trips": Case(
        "{kind: sequence, max_norm: 1.0, trainable: false, pretrained: {file: vectors.parquet}, "
        "encoding: {type: vocabulary, tokens: [x, y]}}",
        "x|y,,x,,y,x,y|q,",
        {"trips": [[1, 2], [], [1], [], [2], [1], [2, 3], []]},
    ),
    # crossed
    "device": Case("{kind: categorical, only_crossed: true}", ",".join(DEVICES), {}),
    "codes": Case("{kind: multi_valued, dtype: int64, only_crossed: true}", "7|8,,9,7,8,-1|9,1|2|3,7", {}),
    "steps_of_age": Case("{kind: bucketized, boundaries: [0, 10, 20], column: age, only_crossed: true}", None, {}),
    "word_age": Case(
        "{kind: crossed, inputs: [word, steps_of_age], num_buckets: 11}",
        None,
        {"word_age": single(crosses(11, [[w] for w in WORDS], [[] if age is None else [age] for age in AGES]))},
    ),
    "device_level": Case(
        "{kind: crossed, inputs: [device, level], num_buckets: 100, hash_key: 42, combiner: mean, embedding_dim: 2, l2: 0.1, "
        "initializer: {type: normal}, max_norm: 1.0, trainable: false, on_invalid: reject}",
        None,
        {
            "device_level": single(
                crosses(100, [[d] if d else [] for d in DEVICES], [[] if v is None else [v] for v in LEVELS], hash_key=42)
            )
        },
    ),
    "codes_tags_age": Case(
        "{kind: crossed, inputs: [codes, tags, age], by_id: [tags], num_buckets: 1000, combiner: sqrtn}",
        None,
        {
            "codes_tags_age": crosses(
                1000,
                [[7, 8], [], [9], [7], [8], [9], [1, 2, 3], [7]],
                [["abcz".index(tag) for tag in tags] for tags in TAGS],
                [[] if age is None else [age] for age in AGES],
            )
        },
    ),
    "tags_device": Case(
        "{kind: crossed, inputs: [tags, device], num_buckets: 50, combiner: sum, representation: indicator}",
        None,
        {"tags_device": crosses(50, TAGS, [[d] if d else [] for d in DEVICES])},
    ),
}
