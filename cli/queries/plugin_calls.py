"""Calls of the plugins of other hosts, as tasks of XAPI."""

import xmlrpc.client
from typing import Any, Dict

from watcher.xapi.plugin_protocol import PLUGIN, AnswerInvalid


def begin_call(client: Any, host: str, function: str, arguments: Dict[str, str]) -> str:
    """Begin a call of a host's plugin; the task."""
    return str(client.call('Async.host.call_plugin', host, PLUGIN, function, arguments))


def read_result(client: Any, task: str) -> Any:
    """The value of a task that succeeded, which XAPI keeps as XML."""
    text = client.call('task.get_result', task)
    try:
        values: Any = xmlrpc.client.loads(f'<params><param>{text}</param></params>')[0]
    except Exception as error:  # the decoder raises whatever the text leads it into
        raise AnswerInvalid('the result of the task cannot be read') from error
    return values[0]
