"""The guard of golden figures itself."""

from golden import worse_than_measured

RESULTS = {"recall": {"0.05m_5deg": 0.84}, "median_translation_m": 0.04, "false_fixes": 1}


def test_figures_within_their_margins_are_fine():
    measured = {
        "recall/0.05m_5deg": (0.88, 0.04),
        "median_translation_m": (0.03, 0.01),
        "false_fixes": (1, 0),
    }
    assert worse_than_measured(RESULTS, measured) == {}


def test_better_ones_are_fine():
    measured = {"recall/0.05m_5deg": (0.5, 0.0), "median_translation_m": (0.1, 0.0), "false_fixes": (2, 0)}
    assert worse_than_measured(RESULTS, measured) == {}


def test_worse_ones_are_named_with_what_was_measured():
    measured = {"recall/0.05m_5deg": (0.9, 0.04), "median_translation_m": (0.03, 0.0), "false_fixes": (0, 0)}
    worse = worse_than_measured(RESULTS, measured)
    assert set(worse) == set(measured)
    assert worse["recall/0.05m_5deg"] == "0.84, measured 0.9, margin 0.04"
