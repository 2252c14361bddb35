"""Lines are held back where they would come again and again, and nowhere else."""

from watcher.runtime.line_damper import Damper


def test_five_lines_and_one_pass_and_then_one_a_minute():
    damper = Damper()
    passed = [damper.admit('web', 100.0 + 0.1 * step) for step in range(1200)]
    assert passed[:6] == [True] * 6
    assert sum(passed) == 6 + 1


def test_lines_of_others_and_of_a_longer_time_pass():
    damper = Damper()
    assert all(damper.admit('vm-%d' % number, 100.0) for number in range(100))
    assert all(damper.admit('web', 100.0 + 3.0 * step) for step in range(100))


def test_window_can_be_longer():
    damper = Damper(60.0)
    passed = [damper.admit('web', 100.0 + 5.0 * step) for step in range(20)]
    assert passed[:6] == [True] * 6 and sum(passed) == 7
