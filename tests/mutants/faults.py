"""The deliberate faults: what is changed in which file, and which tests must notice.

The texts are those of the code as it stands; one that is found no more, or more than once, fails
the run, so that the list cannot grow stale in silence.
"""

from typing import NamedTuple, Tuple


class Change(NamedTuple):
    """One text in one file, and what stands there instead."""
    path: str
    text: str
    replacement: str


class Mutant(NamedTuple):
    """One deliberate fault."""
    name: str
    changes: Tuple[Change, ...]
    tests: Tuple[str, ...]
    """As pytest takes them; a blank and a word after one is its `-k`."""
    must_all_fail: bool = False
    """True: each of the tests fails. False: one is enough."""


_STAGING = 'tests/simulated/test_staging_promises.py'
_STARTS = 'tests/simulated/test_start_promises.py'
_RECEIPTS = 'tests/simulated/test_receipt_promises.py'
_INTERRUPTIONS = 'tests/simulated/test_interruptions.py'
_KILLS = 'tests/faults/test_kills.py'
_BETWEEN = 'tests/faults/test_starts_between_calls.py'
_OUTAGES = 'tests/faults/test_outages.py'
_TROUBLES = 'tests/faults/test_registry_troubles.py'
_STOPPING = 'tests/faults/test_stopping.py'
_RECORDS = 'tests/faults/test_malformed_records.py'
_COPIES = 'tests/hazards/test_copies.py'
_HAZARDS = 'tests/hazards/test_starts.py'


def _one(name: str, path: str, text: str, replacement: str, *tests: str,
         must_all_fail: bool = False) -> Mutant:
    return Mutant(name, (Change(path, text, replacement),), tests, must_all_fail)


MUTANTS = (
    _one('staging is switched off', 'watcher/staging.py',
         '        elif self._is_full():\n', '        elif True:\n            return\n'
         '        elif self._is_full():\n',
         _STAGING + '::test_a_registered_vm_is_staged_and_boots_with_its_span',
         _STAGING + '::test_a_changed_assignment_is_staged_behind_a_fence_that_is_gone',
         _STAGING + '::test_an_edit_of_another_program_is_staged_within_two_seconds',
         _STAGING + '::test_a_staged_vm_starts_right_without_the_daemon',
         _STAGING + '::test_a_running_vms_change_waits_until_it_rests',
         _STAGING + '::test_a_clone_loses_the_span_and_keeps_foreign_text',
         _STAGING + '::test_a_reverted_vm_is_staged_again',
         _STAGING + '::test_a_removed_vm_loses_its_span_at_rest',
         _STAGING + '::test_a_disabled_pool_takes_the_spans_away_and_brings_them_back',
         must_all_fail=True),
    _one('injection at the start is switched off', 'watcher/staging.py',
         '            self._rescue(plan, is_fresh, now)\n', '            return\n',
         _HAZARDS + '::test_a_span_that_vanishes_while_the_vm_starts_is_added_again',
         _STARTS + '::test_a_start_with_a_wrong_span_is_replaced_once',
         _STARTS + '::test_a_pending_change_and_a_quick_restart_refuse_and_miss_nothing',
         _HAZARDS + '::test_vms_that_start_together_as_in_an_appliance_are_all_rescued',
         must_all_fail=True),
    _one('a replacement without its fence', 'watcher/injector.py',
         '        fence.block(client, progress.plan.vm, owner, progress.raised, '
         'progress.doubtful,\n                    progress.plan.value)\n', '', _BETWEEN),
    _one('the second fence key is forgotten', 'watcher/fence.py',
         'OPERATIONS = tuple(sorted(START_OPERATIONS))', "OPERATIONS = ('start',)", _BETWEEN),
    _one('the fence is not lifted', 'watcher/injector.py',
         '        _lift(client, progress)\n', '        pass\n',
         'tests/unit/watcher/test_injector.py'),
    _one('fences that a dead daemon left stay', 'watcher/daemon.py',
         '            self._lifting.note_left(batch.vms, now, self.staging.busy)\n', '',
         'tests/unit/watcher/test_left_fences.py'),
    _one('every block of a start is taken for ours', 'watcher/fence.py',
         'if text.startswith(MARK) and owner in text)', 'if owner in text)',
         _KILLS + ' others'),
    _one('clear-fences does not bring the value back', 'watcher/clearing.py',
         '_restore(client, vm, saved.get(vm.uuid), tell))]', 'True)]', _KILLS + ' gives'),
    Mutant('the old token is kept after an interruption', (
        Change('watcher/stream.py', "token, miscounts, empty = '', 0, 0",
               "token, miscounts, empty = getattr(self, '_kept', ''), 0, 0"),
        Change('watcher/stream.py', '            token = batch.token\n',
               '            token = self._kept = batch.token\n')), (_OUTAGES + ' restarts',)),
    _one('a write trusts the record of the event', 'watcher/injector.py',
         '    progress.vm = client.read_vm(progress.plan.vm.ref)\n    if not is_current',
         '    progress.vm = progress.plan.vm\n    if not is_current', _BETWEEN),
    _one('what runs is written to as if it rested', 'watcher/records.py',
         '        return self.power_state is PowerState.HALTED and not self.operations\n',
         '        return not self.operations\n', _STARTS + ' rest', _STAGING + ' running'),
    _one('the whole platform map is written', 'watcher/xapi.py',
         "self.call('VM.add_to_platform', ref, ARGS_KEY, value)",
         "self.call('VM.set_platform', ref, {ARGS_KEY: value})", _STAGING + ' platform'),
    _one('a key is removed before its value is in the journal', 'watcher/staging.py',
         'if plan.action is not Action.ADD and not self.replacements.begin(plan, now):',
         'if False:',
         _KILLS + ' replacement'),
    _one('without a journal it is replaced all the same', 'watcher/replacements.py',
         '            self._books.reread()\n            return False\n',
         '            self._books.reread()\n            return True\n', _TROUBLES + ' replaced'),
    _one('no quiet time after the stop', 'watcher/plan.py', 'QUIET_SECONDS = 1.2',
         'QUIET_SECONDS = 0.0', _STARTS + ' restart', 'tests/unit/watcher/test_staging.py'),
    _one('what was written is not read back', 'watcher/injector.py',
         '        _verify(client, progress)\n', '', 'tests/unit/watcher/test_injector.py'),
    _one('a wrong span is replaced again and again during one start', 'watcher/staging.py',
         '            if start.is_replaced:\n', '            if False:\n',
         'tests/unit/watcher/test_staging.py'),
    _one('answers that show our own writes are acted upon', 'watcher/staging.py',
         '        return (wrote is not None and', '        return False and (wrote is not None and',
         'tests/unit/watcher/test_staging.py'),
    _one('copies keep the number', 'watcher/plan.py', '    if standing is Standing.COPY:\n',
         '    if False:\n', _COPIES + ' copy'),
    _one('a contested number is claimed', 'watcher/plan.py',
         '    if standing is Standing.CONTESTED:\n        return plan._replace('
         'reason=Reason.NUMBER_CONTESTED, state=State.CONTESTED)\n    value =', '    value =',
         _STAGING + ' contested'),
    _one('foreign text is dropped', 'watcher/plan.py', 'value = merge(reading, plan.desired)',
         'value = plan.desired', _STAGING + ' fence'),
    _one('a disabled pool is not noticed', 'watcher/plan.py',
         '    if not assignment.is_pool_enabled:\n', '    if False:\n', _STAGING + ' disabled'),
    _one('templates and snapshots count as VMs', 'watcher/plan.py',
         '    if vm.kind is not Kind.VM:\n        return plan\n', '', _STAGING + ' templates',
         'tests/test_decision_table.py'),
    _one('a registry of others is treated as accepted', 'watcher/plan.py',
         '    if reading.spans and not policy.is_accepted:\n', '    if False:\n',
         _COPIES + ' accepted'),
    _one('a boot that nobody could look at counts as right', 'watcher/boots.py',
         '        return Verdict.UNVERIFIED\n', '        return Verdict.AS_DESIRED\n',
         _RECEIPTS + ' unverified'),
    _one('power_state is taken for proof of a new domain', 'watcher/records.py',
         'if lives and self.domid >= 0 and self.resident_on:', 'if lives and self.resident_on:',
         _RECEIPTS, 'tests/unit/watcher/test_boots.py'),
    _one('only a silent XAPI is tried again', 'watcher/stream.py',
         '        except XapiError as error:\n            return str(error)\n',
         '        except StreamLost as error:\n            return str(error)\n',
         _OUTAGES + ' trouble'),
    _one('forgotten deletions are not counted', 'watcher/stream.py',
         '        if batch.vm_count is None or batch.vm_count == known:\n', '        if True:\n',
         _OUTAGES + ' forgot'),
    _one('an odd record costs the whole batch', 'watcher/records.py',
         '        return parse_vm(ref, raw)\n    except MalformedRecord as error:\n',
         '        return parse_vm(ref, raw)\n    except ZeroDivisionError as error:\n',
         _RECORDS + ' no-uuid'),
    _one('a call in flight is waited for at the end', 'watcher/service.py',
         'STOP_GRACE_SECONDS = 2.0', 'STOP_GRACE_SECONDS = 60.0', _STOPPING + ' hung-rescue'),
    _one('ready is said before anything is staged', 'watcher/daemon.py',
         '        return self.is_synced and not self.staging.is_waiting\n', '        return True\n',
         _STOPPING + ' ready_is'),
    _one('the scan is not armed again after the clock has jumped', 'watcher/service.py',
         '            self._schedule.rearm()\n', '', 'tests/faults/test_clock.py'),
    _one('a member writes', 'watcher/roles.py',
         '    if role.is_member:\n', '    if False:\n',
         _INTERRUPTIONS + ' may_not_write'),
    _one('an XAPI that is too old is written to', 'watcher/roles.py',
         '    if version < OLDEST_XAPI:\n', '    if False:\n', _INTERRUPTIONS + ' may_not_write'),
    _one('a registry that lost all its rows is believed', 'registry/sightings.py',
         '    if not allow_emptied:\n', '    if False:\n', _INTERRUPTIONS + ' lost_all'),
    _one('a number that runs twice is not told', 'watcher/dangers.py',
         '        if others:\n', '        if False:\n',
         'tests/hazards/test_dangers.py twice or qemus'),
    _one('a resume with the number of another is not told', 'watcher/telling.py',
         '                             self._books.owners.get(number or 0))\n',
         '                             None)\n', 'tests/hazards/test_dangers.py suspended'),
    _one('a full disk is told twice a second', 'watcher/notes.py',
         '        if self._error != str(error):\n', '        if True:\n',
         _TROUBLES + ' full'),
    _one('who lost the writer\'s lock does not say so', 'watcher/service.py',
         '            self._tell_lock(str(error))\n', '',
         'tests/faults/test_resources.py begins'),
    _one('memory that runs out is taken for a fault of one VM', 'watcher/looks.py',
         '        except MemoryError:\n            raise',
         '        except ZeroDivisionError:\n            raise',
         'tests/unit/watcher/test_memory.py'),
    _one('a journal that is locked is taken for an empty one', 'watcher/replacements.py',
         '            return Saved(is_known=False)\n', '            return Saved()\n',
         'tests/faults/test_review.py begins_costs'),
    _one('entries are replaced before the pool\'s', 'watcher/mirror_judge.py',
         '    if keep is not None:\n', '    if False:\n',
         'tests/unit/watcher/test_mirror_judge.py goes_by',
         'tests/pool/test_master_dies.py swap-newest-asleep'),
    _one('the plugin takes commands from any role', 'cli/plugin_caller.py',
         '    if is_root is not True and NEEDED', '    if False and NEEDED',
         'tests/pool/test_forwarding.py only_pool'),
    _one('an answer counts for any question', 'cli/plugin_admin.py',
         '        if question.digest != request.answer:\n', '        if not request.answer:\n',
         'tests/pool/test_forwarding.py answer_holds'),
    _one('a domain of another VM is believed', 'cli/plugin.py',
         '    if owner == vm_uuid:\n', '    if True:\n', 'tests/cli/test_plugin.py another_vm'),
    _one('a journal that cannot be written is not read', 'watcher/books.py',
         '            if error.reason not in _STILL_READABLE:\n', '            if True:\n',
         'tests/faults/test_told_once.py read_only'),
    _one('an answer that comes behind a newer event is believed', 'watcher/inventory.py',
         '        return began_at >= self._shown_at.get(vm.ref, began_at) or vm == '
         'self._vms.get(vm.ref)\n', '        return True\n',
         'tests/unit/watcher/test_late_answers.py'),
    _one('a start waits for what was refused at rest', 'watcher/staging.py',
         '            self.begin_session((vm.ref,))\n', '            pass\n',
         'tests/unit/watcher/test_staging.py refused_at_rest'),
    _one('an output goes over a file of ours', 'cli/files.py',
         '    if found is not None:\n        raise _refusal', '    if False:\n        raise _refusal',
         'tests/cli/test_output_files.py nothing_is_written_over'),
    _one('an output goes over any database', 'cli/files.py',
         '        if content == _DATABASE:\n', '        if False:\n',
         'tests/cli/test_output_files.py whatever_db_says'),
    _one('links and pipes of others are followed', 'cli/targets.py',
         '    return status.st_uid in (0, os.geteuid())', '    return True',
         'tests/cli/test_output_files.py::test_a_link_of_somebody_else_is_not_followed',
         'tests/cli/test_output_files.py::test_a_pipe_of_somebody_else_is_not_written_to',
         'tests/unit/cli/test_files.py::test_link_of_somebody_else_is_replaced_and_not_followed',
         must_all_fail=True),
    _one('a field that is not known is passed over', 'cli/exchange_format.py',
         '    if unknown:\n        return (', '    if False:\n        return (',
         'tests/unit/cli/test_exchange_format.py no_export'),
    _one('the last of two equal keys wins', 'cli/exchange_format.py',
         '        if name in built:\n', '        if False:\n',
         'tests/unit/cli/test_exchange_format.py two_ways'),
    _one('each spelling of the path has its own lock', 'registry/lock.py',
         'self.path = resolve_path(path) + LOCK_SUFFIX', 'self.path = path + LOCK_SUFFIX',
         'tests/unit/registry/test_registry_paths.py same_lock'),
    _one('the lock follows a link', 'registry/lock.py', ' | os.O_NOFOLLOW', '',
         'tests/unit/registry/test_registry_lock.py link_in_the_place'),
    _one('the journal is readable at its birth', 'registry/schema.py',
         'os.O_EXCL | os.O_CLOEXEC, 0o600))', 'os.O_EXCL | os.O_CLOEXEC, 0o644))',
         'tests/unit/registry/test_registry_journal.py whatever_the_umask'),
    _one('a file is migrated without a copy', 'registry/kept.py',
         '    if _has_copy(path):\n', '    if True:\n',
         'tests/unit/registry/test_registry_migration_copies.py'),
    _one('a log line is as long as it likes', 'watcher/log_lines.py',
         'line if len(line) <= MAX_LINE_BYTES else', 'line if True else',
         'tests/unit/watcher/test_line_limit.py fields_of_a_boot'),
    _one('a rotation stops itself', 'deploy/logrotate.conf', ' --kill-who=main', '',
         'tests/package/test_log.py starts_loses'),
)
