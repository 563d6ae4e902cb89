"""The places of a picture's boxes and lanes: nothing in a row is behind something else."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.plot_layout import across

BOX, LANE = 2.0, 0.5


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sets(st.integers(0, 20), min_size=1, max_size=3), min_size=1, max_size=9))
def test_neighbours_keep_their_distance(wanted: list[set[int]]) -> None:
    sources = [set(), *({source % number for source in each} for number, each in enumerate(wanted, 1))]
    levels = [0]
    for each in sources[1:]:
        levels.append(1 + max(levels[source] for source in each))
    places = across(levels, sources, BOX, LANE)
    half = {place: (BOX if levels[place[0]] == place[1] else LANE) / 2 for place in places}
    assert min(x - half[place] for place, x in places.items()) >= -1e-9
    for row in range(max(levels) + 1):
        inside = sorted((x, half[place]) for place, x in places.items() if place[1] == row)
        for (left, half_left), (right, half_right) in itertools.pairwise(inside):
            assert right - left >= half_left + half_right - 1e-9
    for number, each in enumerate(sources):
        assert all((source, row) in places for source in each for row in range(levels[source], levels[number]))


def test_an_arrow_that_skips_a_row_has_a_lane_beside_the_boxes() -> None:
    places = across([0, 1, 2], [set(), {0}, {0, 1}], BOX, LANE)
    assert abs(places[0, 1] - places[1, 1]) == (BOX + LANE) / 2
    assert set(places) == {(0, 0), (0, 1), (1, 1), (2, 2)}


def test_a_chain_is_straight() -> None:
    assert set(across([0, 1, 2], [set(), {0}, {1}], BOX, LANE).values()) == {BOX / 2}
