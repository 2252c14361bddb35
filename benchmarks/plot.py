"""The latencies of a run as a picture (SVG), by pygal, which is pure Python."""

from typing import Any, List, Sequence

from benchmarks.figures import Figure

# What is a time, and how many milliseconds one is.
_UNITS = {'ms': 1.0, 's': 1000.0}
_WIDTH = 1200
_HEAD = 120
_BAR = 44
_LONGEST_LABEL = 90


def choose_latencies(figures: Sequence[Figure]) -> List[Figure]:
    """The figures that were measured several times and are times, in milliseconds."""
    return [figure._replace(unit='ms', median=figure.median * _UNITS[figure.unit],
                            percentile_95=figure.percentile_95 * _UNITS[figure.unit])
            for figure in figures
            if figure.unit in _UNITS and figure.percentile_95 is not None and figure.median > 0]


def draw_latencies(figures: Sequence[Figure], title: str) -> bytes:
    """Draw median and 95th percentile of each latency, on a logarithmic scale."""
    import pygal  # of the test extra; nothing else here needs it
    chosen = choose_latencies(figures)
    chart: Any = pygal.HorizontalBar(
        title=title, logarithmic=True, js=(), width=_WIDTH, height=_HEAD + _BAR * len(chosen),
        truncate_label=_LONGEST_LABEL, legend_at_bottom=True, no_data_text='nothing was measured',
        value_formatter=lambda value: f'{value:.3g} ms')
    # Horizontal bars begin at the bottom.
    shown = chosen[::-1]
    chart.x_labels = [f'{figure.scenario}: {figure.what}' for figure in shown]
    chart.add('median', [figure.median for figure in shown])
    chart.add('95th percentile', [figure.percentile_95 for figure in shown])
    picture: bytes = chart.render()
    return picture
