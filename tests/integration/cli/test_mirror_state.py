"""How far the mirror is: what `status` and `doctor` make of the daemon's note."""

import json
from typing import Any, Dict

import pytest

from cli.doctor.registry_checks import judge_mirror
from cli.output.text import Style
from cli.queries.mirror_status import MirrorState, describe_mirror, parse_note, render_mirror
from registry.journal.journal import Journal
from registry.schema import MIRROR_NOTE
from registry.writer_lock import WriterLock
from tests.integration.cli.program import Place, wait_until
from tests.integration.cli.test_doctor import change_config, daemon  # noqa: F401 - a fixture
from watcher.mirror import mirror as mirroring

STATES = ('off', 'waiting', 'pushing', 'mirrored', 'following', 'older', 'incomplete',
          'undecided', 'not_accepted', 'no_registry')


def test_every_state_of_the_daemon_is_known_here() -> None:
    said = {getattr(mirroring, state.upper()) for state in STATES}
    assert said == set(STATES)
    for state in STATES:
        assert describe_mirror(MirrorState(state)) != state


def leave(place: Place, **facts: Any) -> None:
    text = json.dumps(dict({'state': 'mirrored', 'generation': '7-0123abcd', 'waiting': 0,
                            'master': 'OpaqueRef:1', 'is_master': True, 'reason': ''}, **facts))
    with Journal(place.registry.journal_path, timeout_seconds=5.0) as journal:
        journal.write_note(MIRROR_NOTE, text)


def find(place: Place) -> Dict[str, Any]:
    """What doctor says of the mirror, and what status shows."""
    run = place.run('doctor', '--json', '--root', place.directory)
    finding, = [item for item in run.document['checks'] if item['check'] == 'mirror']
    run = place.run('status', '--json')
    return dict(finding, status=run.document['mirror'], panel=place.run('status').out)


@pytest.mark.parametrize('facts, verdict, saw, advice', [
    ({}, 'ok', 'whole, generation 7-0123abcd', ''),
    ({'state': 'following', 'is_master': False}, 'ok', 'follows it', ''),
    ({'state': 'off', 'reason': 'RBAC_PERMISSION_DENIED'}, 'warn', 'RBAC_PERMISSION_DENIED',
     'rights'),
    ({'state': 'off'}, 'warn', 'a later version', 'upgrade'),
    ({'state': 'older', 'is_master': False}, 'warn', 'older copy', 'on the master'),
    ({'state': 'incomplete', 'is_master': False}, 'warn', 'not whole', 'registry rebuild'),
    ({'state': 'incomplete'}, 'fail', 'nothing is staged', 'registry rebuild'),
    ({'state': 'undecided'}, 'warn', 'which of them is newer', 'registry keep'),
    ({'state': 'not_accepted'}, 'warn', 'another program', 'vgpu-admin accept'),
    ({'state': 'no_registry'}, 'warn', 'cannot be used', 'registry rebuild'),
    ({'state': 'of_tomorrow'}, 'warn', 'of_tomorrow', 'registry compare'),
    ({'state': 'pushing', 'waiting': 3}, 'warn', '3 writes to do, and gets no further',
     'mirror.write_failed'),
    ({'state': 'waiting'}, 'warn', 'gets no further', 'mirror.waiting')],
    ids=lambda item: item.get('state', 'mirrored') if isinstance(item, dict) else '')
def test_each_state_is_shown_with_what_to_do(pool: Place, facts: Dict[str, Any], verdict: str,
                                             saw: str, advice: str) -> None:
    leave(pool, **facts)
    with WriterLock(pool.db) as lock:
        assert lock.acquire()
        found = find(pool)
    assert found['verdict'] == verdict and saw in found['saw']
    assert advice in (found['advice'] or '')
    assert found['status']['state'] == facts.get('state', 'mirrored')
    is_under_way = facts.get('state') in ('pushing', 'waiting')
    assert found['status']['is_well'] == (verdict == 'ok' or is_under_way)
    assert ('the mirror ' in found['panel']) != found['status']['is_well']
    assert '\nMirror: ' in found['panel']


def test_a_generation_that_the_daemon_has_begun_is_not_called_whole(pool: Place) -> None:
    leave(pool)
    for generation, state in (('7-0123abcd', 'mirrored'), ('8-0123abcd', 'pushing')):
        with Journal(pool.registry.journal_path, timeout_seconds=5.0) as journal:
            journal.note_generation(generation, 'digest')
        with WriterLock(pool.db) as lock:
            assert lock.acquire()
            found = pool.run('status', '--json').document['mirror']
            panel = pool.run('status').out
        assert (found['state'], found['generation']) == (state, generation)
        assert ('whole' in panel) is (state == 'mirrored')


def test_switched_off_by_the_configuration_is_no_fault(pool: Place) -> None:
    leave(pool, state='off')
    change_config('[registry]', '[mirror]\nenabled = no\n[registry]')(pool)
    with WriterLock(pool.db) as lock:
        assert lock.acquire()
        found = find(pool)
    assert found['verdict'] == 'skip' and found['status']['is_well'] is True


def test_a_dead_daemons_note_says_nothing(pool: Place) -> None:
    leave(pool)
    found = find(pool)
    assert (found['verdict'], found['saw'], found['status']) == ('skip', 'no daemon is running', None)
    assert 'Mirror: ! not known' in found['panel'] or 'not known: no daemon' in found['panel']


@pytest.mark.parametrize('text', [None, '', 'x', '[]', '3', '{}', '{"state": 3}', '{"state": ""}'])
def test_a_note_that_is_not_understood_says_nothing(text: Any) -> None:
    assert parse_note(text, True) is None
    assert judge_mirror(None, None).result.value == 'warn'


def test_odd_fields_of_a_note_do_no_harm() -> None:
    mirror = parse_note(json.dumps({'state': 'a\x1b[2J\nb', 'generation': [], 'waiting': True,
                                    'is_master': 'yes', 'reason': {}}), True)
    assert mirror == MirrorState('a\x1b[2J\nb')
    assert '\x1b' not in render_mirror(mirror, Style()) and '\n' not in render_mirror(
        mirror, Style())


def test_what_gets_on_is_well() -> None:
    before = MirrorState('pushing', '7-0123abcd', 900)
    for later in (before._replace(waiting=500), before._replace(generation='8-0123abcd'),
                  before._replace(state='mirrored', waiting=0)):
        assert judge_mirror(before, later).result.value == 'ok'
    assert judge_mirror(before, before).result.value == 'warn'


def test_a_real_daemons_mirror_is_shown(pool: Place, daemon: Any) -> None:  # noqa: F811
    def look() -> Any:
        mirror = pool.run('status', '--json').document['mirror']
        return mirror if mirror and mirror['state'] == 'mirrored' else None
    first = wait_until(look, 'the first fill')
    assert first['generation'].startswith('1-') and first['waiting'] == 0 and first['is_well']
    pool.create_vm('web')
    assert pool.run('register-vm', '--vm-name=web').status == 0
    wait_until(lambda: (look() or first)['generation'] != first['generation'], 'the edit')
    assert find(pool)['verdict'] == 'ok'


def test_a_real_daemon_whose_xapi_refuses_says_so(pool: Place, daemon: Any) -> None:  # noqa: F811
    pool.create_vm('web')
    pool.xapi.add_fault('failure', method='VM.add_to_other_config', parameters={
        'code': 'RBAC_PERMISSION_DENIED', 'params': ['VM.add_to_other_config']})
    assert pool.run('register-vm', '--vm-name=web').status == 0
    wait_until(lambda: (pool.run('status', '--json').document['mirror'] or {}).get('reason'),
               'the refusal')
    found = find(pool)
    assert found['verdict'] == 'warn' and 'RBAC_PERMISSION_DENIED' in found['saw']
