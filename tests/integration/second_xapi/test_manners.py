"""The daemon against XAPIs of other people, odd in every way in which they may be odd."""

from typing import Callable

import pytest

from tests.integration.second_xapi.stranger import Stranger, span
from tests.integration.second_xapi.xapi import Manner

MANNERS = {
    'plain': Manner(),
    'xml-only': Manner(speaks=('xml',)),
    'xml-only-500': Manner(speaks=('xml',), no_such_page=500),
    'xml-only-closes': Manner(speaks=('xml',), no_such_page=0),
    'json-only': Manner(speaks=('json',)),
    'http-1.0': Manner(version='HTTP/1.0', keeps_alive=False),
    'closes': Manner(keeps_alive=False),
    'chunked': Manner(is_chunked=True),
    'chunked-xml': Manner(is_chunked=True, speaks=('xml',)),
    'http-1.0-xml': Manner(version='HTTP/1.0', keeps_alive=False, speaks=('xml',)),
    'numbers': Manner(speaks=('xml',), are_numbers=True),
    'login-of-three': Manner(login_params=3),
    'login-of-two': Manner(login_params=2),
    'login-of-two-fault': Manner(login_params=2, has_count_mismatch=False),
    'no-counts': Manner(has_counts=False),
    'vm-class-only': Manner(classes=('vm',)),
    'other-token': Manner(token='%d,%d'),
    'repeats': Manner(repeats=True),
    'never-waits': Manner(waits=False),
    'few-fields': Manner(fields_left_out=(
        'other_config', 'is_default_template', 'is_vmss_snapshot', 'snapshot_of', 'tags',
        'scheduled_to_be_resident_on', 'metrics', 'VBDs', 'VIFs', 'allowed_operations')),
}


@pytest.mark.parametrize('name', sorted(MANNERS))
def test_the_whole_way_of_a_vm(make: Callable[..., Stranger], name: str) -> None:
    stranger = make(MANNERS[name])
    ref = stranger.xapi.create_vm('web')
    stranger.start()
    number = stranger.register(ref)
    stranger.wait_args(ref, span(number))
    assert stranger.xapi.run(ref) == span(number)
    line = stranger.wait_line('vm.booted', vm_uuid=stranger.xapi.vm(ref)['uuid'])
    assert (line['verdict'], line['kind'], line['found']) == ('as_desired', 'start', span(number))
    run = stranger.admin('set-priority', '--vm-uuid', stranger.xapi.vm(ref)['uuid'],
                         '--priority', 'high', '--no-restart')
    assert run.status == 0, run
    assert stranger.xapi.args(ref) == span(number)
    stranger.xapi.vm_clean_shutdown(ref)
    stranger.wait_args(ref, span(number, priority='high'))
    assert stranger.stop() == 0
