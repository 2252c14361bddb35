"""The named tuples that Python 3.6 is given: they do what Python's own do."""

import collections
import pickle
from typing import Any

import pytest

from cli.quick_named_tuples import make_named_tuple

FIELDS = ['name', 'vm_id', 'pool']
OURS = make_named_tuple('Vm', FIELDS)
THEIRS: Any = collections.namedtuple('Vm', FIELDS)  # type: ignore


def test_they_do_what_those_of_python_do() -> None:
    for make in (OURS, THEIRS):
        vm = make('web', 7, pool='A')
        assert vm == ('web', 7, 'A') and (vm.name, vm.vm_id, vm.pool) == ('web', 7, 'A')
        assert vm._replace(vm_id=8) == ('web', 8, 'A') and type(vm._replace()) is make
        assert dict(vm._asdict()) == {'name': 'web', 'vm_id': 7, 'pool': 'A'}
        assert repr(vm) == "Vm(name='web', vm_id=7, pool='A')"
        assert make._make(iter('abc')) == ('a', 'b', 'c') and make._fields == tuple(FIELDS)
        assert vm.__getnewargs__() == tuple(vm) and hash(vm) == hash(tuple(vm))
        assert not hasattr(vm, '__dict__')


@pytest.mark.parametrize('action, error', [
    (lambda make: make('web', 7), TypeError), (lambda make: make('web', 7, 'A', 1), TypeError),
    (lambda make: make('web', 7, pol='A'), TypeError), (lambda make: make._make('ab'), TypeError),
    # Since Python 3.13 a TypeError.
    (lambda make: make('web', 7, 'A')._replace(x=1), (ValueError, TypeError)),
    (lambda make: setattr(make('web', 7, 'A'), 'name', 'db'), AttributeError)])
def test_they_refuse_what_those_of_python_refuse(action: Any, error: Any) -> None:
    for make in (OURS, THEIRS):
        with pytest.raises(error):
            action(make)


def test_defaults_are_given_as_typing_gives_them() -> None:
    make: Any = make_named_tuple('Pair', ['left', 'right'])
    make.__new__.__defaults__ = (2,)
    assert make(1) == (1, 2)


def test_one_field_and_what_is_left_to_python() -> None:
    one: Any = make_named_tuple('One', ['field'])
    assert one('a') == ('a',)
    assert make_named_tuple('Text', 'a b')._fields == ('a', 'b')  # type: ignore
    assert make_named_tuple('None_', [])._fields == ()  # type: ignore
    with pytest.raises(ValueError):
        make_named_tuple('Odd', ['_a'], rename=False)


def test_a_pickle_comes_back() -> None:
    globals()['Vm'] = OURS
    OURS.__module__ = __name__
    assert pickle.loads(pickle.dumps(OURS('web', 7, 'A'))) == ('web', 7, 'A')
