"""The plot of the benchmarks: which figures are in it, and that it is a picture."""

import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from benchmarks.__main__ import write_plot
from benchmarks.figures import Figure, compare, observe, summarise
from benchmarks.plot import choose_latencies

FIGURES = [summarise('A start', 'ours & <others>', 'ms', [1.0, 2.0, 9.0]),
           summarise('A scan', 'status', 's', [0.2, 0.25, 0.3]),
           summarise('Memory', 'peak', 'MB', [40.0, 41.0]),
           observe('A scan', 'the earlier tool', 5.4, 's'),
           compare('A start', 'ours / floor', 1.4, 'at most 1.5', most=1.5)]


def test_latencies_are_the_times_that_were_measured_several_times() -> None:
    assert [(figure.what, figure.median, figure.percentile_95)
            for figure in choose_latencies(FIGURES)] == [
                ('ours & <others>', 2.0, 9.0), ('status', 250.0, 300.0)]


def test_plot_is_a_picture_that_names_what_was_measured(tmp_path: Any, capsys: Any) -> None:
    pytest.importorskip('pygal')
    path = str(tmp_path / 'new' / 'bench.svg')
    write_plot(path, FIGURES, {'python': '3.11.7', 'load_before': 1.0})
    assert path in capsys.readouterr().out
    root = ElementTree.parse(path).getroot()
    text = ' '.join(root.itertext())
    assert root.tag.endswith('svg')
    for shown in ('A start: ours & <others>', 'A scan: status', '250 ms', '95th percentile'):
        assert shown in text, shown
    # Whoever opens it is not made to load anything.
    assert not [node for node in root.iter() if node.tag.endswith('script') and node.get('href')]
    assert 'earlier tool' not in text


@pytest.mark.parametrize('figures', [[], [Figure('A', 'b', 'ms', 0.0, 0.0)]])
def test_plot_of_nothing_says_so(tmp_path: Any, figures: Any) -> None:
    pytest.importorskip('pygal')
    path = tmp_path / 'bench.svg'
    write_plot(str(path), figures, {'python': '3.11.7', 'load_before': 1.0})
    assert 'nothing was measured' in path.read_text()
