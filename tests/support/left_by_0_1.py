"""What version 0.1 left when it was killed in the middle of a replacement."""

import json
import sqlite3
from typing import Optional

# As it wrote it into blocked_operations meanwhile: UUID, operation, new value.
BLOCK = ('vgpu-watcher: replacing device-model-args, gone in a moment; owner dom0 pid 4711; '
         'lift with: xe vm-param-remove uuid=%s param-name=blocked-operations '
         'param-key=%s value: %s')


def add_replacement(journal_path: str, vm_uuid: str, vm_ref: str, before: Optional[str],
                    after: Optional[str]) -> None:
    """Have an existing journal say that the value of a VM was being replaced."""
    connection = sqlite3.connect(journal_path)
    with connection:
        connection.execute(
            'INSERT INTO replacements (vm_uuid, vm_ref, before_json, after_json, reason, begun_at) '
            "VALUES (?, ?, ?, ?, 'span_differs', '2026-11-01 00:00:00')",
            (vm_uuid, vm_ref, json.dumps(before), json.dumps(after)))
    connection.close()
