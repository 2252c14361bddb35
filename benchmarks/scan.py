"""How long a scan of 5,000 VMs keeps a start waiting: the daemon's own parts, without a network.

Measured here and not from outside: the simulator, which renders 20 MB for the scan in the
interpreter that notes the calls, would hold up the start itself.
"""

import json
import os
import shutil
import tempfile
import time
import uuid
from typing import Any, Dict, List

from benchmarks.figures import Figure, summarise
from registry.store import Registry
from simulator.server import Simulator
from simulator.settings import Settings as SimulatorSettings
from watcher.config.policy import build_policy
from watcher.config.settings import Settings
from watcher.loop.steps import TURN, Steps
from watcher.staging.jobs import Scan
from watcher.staging.scan import Scanning
from watcher.staging.stager import Staging
from watcher.state.inventory import Inventory
from watcher.state.number_claims import NumberClaims
from watcher.state.registry_view import RegistryView
from watcher.state.write_permit import WritePermit
from watcher.xapi import json_stream
from watcher.xapi.record_parser import parse_records, reduce_record
from watcher.xapi.role import Role

REGISTERED = 1000
OTHERS = 4000
ROUNDS = 5
KEY = 'device-model-args'
# What arrives at once of a large answer.
CHUNK = 256 * 1024


def run() -> List[Figure]:
    """Go through scans, and decode their answers."""
    place = tempfile.mkdtemp()
    try:
        texts = _build_records(place)
        records = parse_records({ref: json.loads(text) for ref, text in texts.items()})[0]
        slices = _measure_slices(place, records)
        steps = _measure_steps(texts)
    finally:
        shutil.rmtree(place)
    title = f'A scan of {REGISTERED + OTHERS} VMs: how long a start is kept waiting'
    return [
        summarise(title, 'it is gone through: in all', 'ms',
                  [sum(each) for each in slices]),
        summarise(title, 'the longest at a stretch', 'ms', [max(each) for each in slices],
                  'at most 5 ms', 5.0),
        summarise(title, 'its answer is decoded: at a stretch', 'ms', steps),
        summarise(title, 'the longest of these', 'ms', [max(steps)], 'at most 50 ms', 50.0)]


def _build_records(place: str) -> Dict[str, str]:
    """Records as XAPI has them, as JSON; 1,000 of them registered."""
    xapi = Simulator(SimulatorSettings(socket_path=os.path.join(place, 'xapi')))
    registry = Registry(os.path.join(place, 'vgpu_config.db'), timeout_seconds=10.0)
    registry.create('benchmark')
    one = xapi.vm(xapi.create_vm('vm'))
    texts: Dict[str, str] = {}
    with registry.edit(who='benchmark', command='import') as edit:
        for number in range(1, REGISTERED + OTHERS + 1):
            vm_uuid, ref = str(uuid.uuid4()), 'OpaqueRef:' + str(uuid.uuid4())
            platform = dict(one['platform'])
            if number <= REGISTERED:
                edit.add_vm(vm_uuid, vm_id=number, vm_name=f'vm-{number}')
                platform[KEY] = ('-device vgpu-stub,pool_id=A,priority=medium,'
                                 f'vm_id={number}')
            texts[ref] = json.dumps(dict(one, uuid=vm_uuid, name_label=f'vm-{number}',
                                         platform=platform))
    return texts


def _measure_slices(place: str, records: Any) -> List[List[float]]:
    """Milliseconds of processor time of each slice, for each scan."""
    view, inventory = RegistryView(os.path.join(place, 'vgpu_config.db')), Inventory()
    view.poll()
    policy = build_policy(Settings(), True)
    for vm in records:
        inventory.update(vm, policy, time.monotonic())
    number_claims = NumberClaims(view, inventory, lambda write: None)
    asked: List[Any] = []
    staging = Staging(view, inventory, number_claims, reread=asked.append, write=lambda write: None,
                      carry_out=lambda plan, _is_first: asked.append(plan))
    staging.policy = policy
    permit = WritePermit()
    permit.role, permit.is_locked, permit.is_synced = Role(True, True, 'host', '26.1.4'), True, True
    scanning = Scanning(
        view, inventory, staging, permit, reread=asked.append,
        review=lambda ref, now: staging.review(ref, now, may_write=True), clock=time.monotonic)
    found = []
    for _ in range(ROUNDS):
        slices: List[float] = []
        scanning.begin(Scan(tuple(records)))
        while scanning.is_under_way:
            began = time.process_time()
            scanning.advance()
            slices.append((time.process_time() - began) * 1000.0)
        found.append(slices)
    view.close()
    if asked:
        raise RuntimeError(f'a pool in which all is well gave {len(asked)} jobs')
    return found


def _measure_steps(texts: Dict[str, str]) -> List[float]:
    """Milliseconds that the decoding of the answer keeps the loop for, between two turns."""
    answer = ('{"jsonrpc": "2.0", "id": 1, "result": {'
              + ', '.join(f'"{ref}": {text}' for ref, text in texts.items()) + '}}')
    steps: List[float] = []
    for _ in range(ROUNDS):
        chunks = iter([answer[at:at + CHUNK] for at in range(0, len(answer), CHUNK)])

        def read() -> Steps[str]:
            yield TURN
            return next(chunks, '')  # noqa: B023  (used up before the next round)
        began = time.process_time()
        for _turn in json_stream.decode(read, json_stream.map_parts(reduce_record)):
            steps.append((time.process_time() - began) * 1000.0)
            began = time.process_time()
    return steps
