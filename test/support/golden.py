"""Figures of results.json against what was measured, each with the margin it may be worse by."""

HIGHER_IS_BETTER = ("recall", "localized")


def worse_than_measured(results, measured):
    """Return the figures that are worse than measured by more than their margin, with what is allowed.

    Args:
        results: of `evaluate`.
        measured: by path, e.g. `recall/0.05m_5deg`: value and margin.
    """
    worse = {}
    for path, (value, margin) in measured.items():
        found = results
        for key in path.split("/"):
            found = found[key]
        sign = 1.0 if path.startswith(HIGHER_IS_BETTER) else -1.0
        if sign * (found - value) < -margin - 1e-9:
            worse[path] = f"{found}, measured {value}, margin {margin}"
    return worse
