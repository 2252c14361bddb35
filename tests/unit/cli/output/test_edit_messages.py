"""What is said of edits: of many VMs together."""

from cli.output.edit_messages import MOST_GROUPS, say_many
from cli.output.text import brief_name, name_vm

UUID = 'd8f33418-0000-4000-8000-000000000001'


def test_a_vm_is_named_as_people_know_it() -> None:
    assert name_vm('web01', UUID) == f'web01 ({UUID})'
    assert brief_name('web\x1b01', UUID) == 'web\\x1b01'
    assert name_vm(None, UUID) == brief_name('', UUID) == f'VM {UUID}'


def test_vms_of_which_the_same_is_said_stand_on_one_line() -> None:
    names = {str(number): f'web0{number}' for number in range(10)}
    assert say_many({'1': 'staged', '3': 'staged'}, names) == ['Each of 2 VMs: staged']
    # Of which VMs it is said must be seen where not the same is said of all.
    assert say_many({'1': 'staged', '2': 'pending', '3': 'staged'}, names) == [
        'web01, web03: staged', 'web02: pending']
    many = dict({str(number): 'staged' for number in range(4)}, **{'9': 'pending'})
    assert say_many(many, names) == ['Each of 4 VMs: staged', 'web09: pending']
    assert say_many({UUID: 'staged'}, {}) == [f'VM {UUID}: staged']
    assert say_many({}, {}) == []


def test_hundreds_of_reasons_do_not_fill_the_screen() -> None:
    lines = say_many({str(number): f'waits for {number}' for number in range(500)}, {})
    assert len(lines) == MOST_GROUPS and "495 VMs more wait" in lines[-1]
    assert "'vgpu-admin status'" in lines[-1]
