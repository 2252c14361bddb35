"""What commands ask XAPI: each thing once."""

import itertools
from typing import Any, List, Sequence

import pytest

from cli.__main__ import main
from cli.xapi_session import open_session
from registry.store import Registry
from tests.integration.cli.program import Place, span, wait_until
from tests.integration.cli.test_with_daemon import watched
from watcher.config.settings import Settings, XapiSettings

__all__ = ['watched']
WHO = ['pool.get_all_records', 'session.get_this_host']
REPLACED = ['VM.get_record', 'VM.set_platform', 'VM.get_record']


def _calls(place: Place, *words: str) -> List[str]:
    """The calls of one command, without those of a daemon, between login and logout."""
    place.xapi.clear_calls()
    run = place.run(*words)
    assert run.status == 0, run.err
    ended = [call.session for call in place.xapi.calls if call.method == 'session.logout']
    assert len(ended) == 1
    return [call.method for call in place.xapi.calls if call.session == ended[0]][:-1]


@pytest.mark.parametrize('words, calls', [
    (['set-pool', 'web', '--pool=B', '--no-restart'], WHO + ['VM.get_by_uuid', 'VM.get_record']
     + ['host.get_software_version', 'VM.get_all_records'] + REPLACED),
    (['set-vm-id', 'web', '--vm-id=50'], WHO + ['VM.get_all_records']
     + ['host.get_software_version', 'VM.get_all_records'] + REPLACED),
    (['register-vm', 'other'], WHO + ['VM.get_all_records', 'host.get_software_version',
                                      'VM.get_all_records', 'VM.add_to_platform']),
    (['remove-vm', 'web'], WHO + ['VM.get_by_uuid', 'VM.get_record', 'host.get_software_version',
                                  'VM.get_all_records', 'VM.get_record',
                                  'VM.remove_from_platform', 'VM.get_record']),
    (['set-pool', 'web', '--pool=A'], WHO + ['VM.get_by_uuid', 'VM.get_record']),
    (['show-vm', 'web'], ['VM.get_all_records'])], ids=lambda words: ' '.join(words[:2]))
def test_without_a_daemon_each_thing_is_asked_once_before_the_edit_and_once_after(
        pool: Place, words: Sequence[str], calls: List[str]) -> None:
    ref = pool.create_vm('web')
    pool.create_vm('other')
    assert pool.run('register-vm', 'web').status == 0 and pool.args(ref) == span(1)
    # On a busy machine a record is read again: it was too old when its map could be sent.
    assert [method for method, _repeats in itertools.groupby(_calls(pool, *words))] == calls


def test_beside_a_daemon_a_halted_vm_is_found_once_and_then_only_read(watched: Place) -> None:
    ref = watched.create_vm('web')
    assert watched.run('register-vm', 'web').status == 0
    wait_until(lambda: watched.args(ref) == span(1), 'staged')
    calls = _calls(watched, 'set-priority', 'web', '--priority=high')
    # The daemon has noted which host this is; the VM is read before the edit, and until it is seen
    # to be staged.
    assert calls[:2] == ['pool.get_all_records', 'VM.get_by_uuid']
    assert set(calls[2:]) == {'VM.get_record'} and len(calls) >= 4
    assert watched.args(ref) == span(1, 'A', 'high')


def test_an_edit_of_a_halted_vm_is_one_transaction(pool: Place,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    ref = pool.create_vm('web')
    assert pool.run('register-vm', 'web').status == 0
    before, edits = len(pool.history()), []
    real = Registry.edit

    def edit(registry: Registry, **options: Any) -> Any:
        edits.append(options['command'])
        return real(registry, **options)

    monkeypatch.setattr(Registry, 'edit', edit)
    words = ['--config', pool.config, 'set-pool', 'web', '--pool=B']
    assert main(words) == 0 and edits == ['set-pool']
    assert [entry.what for entry in pool.history()[:-before]] == ['args_replaced', 'vm_changed']
    assert pool.run(*words[2:]).out == (
        f'web ({pool.uuid(ref)}) already has pool B; nothing to do\n')
    assert len(pool.history()) == before + 2


def test_a_vm_that_was_imported_again_is_found_by_its_new_ref(pool: Place) -> None:
    """XAPI gives an imported VM another ref; the one that was asked for first is gone."""
    first = pool.create_vm('web')
    vm_uuid = pool.uuid(first)
    live = open_session(Settings(xapi=XapiSettings(url='unix:' + pool.socket)))
    try:
        assert live.find_vm(vm_uuid).ref == first
        pool.xapi.call('VM.destroy', first)
        assert live.find_vm(vm_uuid) is None
        second = pool.create_vm('web', uuid=vm_uuid)
        found = live.find_vm(vm_uuid)
        assert found is not None and found.ref == second != first
    finally:
        live.close()
