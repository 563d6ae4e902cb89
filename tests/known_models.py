"""The ranking models of which tests know more than that they conform. A new one needs no line here."""

from __future__ import annotations

RANKING = frozenset("afm autoint dcn dcn_v2 deep_crossing deepfm din dlrm ffm final_mlp fm ipnn lr mlp nfm opnn wide_deep xdeepfm".split())
