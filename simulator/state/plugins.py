"""Programs that xapi runs: plugins, and the scripts of master.d.

A plugin gets its call as XML-RPC in its one argument, and answers with XML-RPC on its standard
output, as xapi_plugins.ml has it. The environment is xapi's: a search path and nothing else.
"""

import os
import signal
import subprocess
import xmlrpc.client
from typing import Any, Dict, List, Optional, Tuple
from xml.parsers.expat import ExpatError

from simulator.wire.failures import Failure

SEARCH_PATH = '/usr/local/sbin:/usr/local/bin:/sbin:/bin:/usr/sbin:/usr/bin'


def call(directory: Optional[str], environment: Dict[str, str], session: str, name: str,
         function: str, arguments: Dict[str, str]) -> str:
    """Run a plugin of a directory; only what is listed there can be called."""
    if directory is None or name not in _list(directory):
        raise Failure('XENAPI_MISSING_PLUGIN', [name])
    if not all(isinstance(text, str) for pair in arguments.items() for text in pair):
        raise Failure('INTERNAL_ERROR', ['Failure("Expected string")'])
    request = xmlrpc.client.dumps((session, arguments), function)
    status, output, complaint = run(os.path.join(directory, name), request, environment)
    if status != 0:
        how = 'non-zero exit' if status > 0 else f'signal: {signal.Signals(-status).name}'
        raise Failure('XENAPI_PLUGIN_FAILURE', [how, output, complaint])
    return _read_answer(output)


def run_master_scripts(directory: str, *, is_master: bool,
                       environment: Dict[str, str]) -> List[Tuple[str, int]]:
    """Run the scripts of master.d: with `start` in their order, with `stop` the other way round;
    their statuses change nothing."""
    word = 'start' if is_master else 'stop'
    return [(name, run(os.path.join(directory, name), word, environment)[0])
            for name in sorted(_list(directory), reverse=not is_master)]


def run(program: str, argument: str, environment: Dict[str, str]) -> Tuple[int, str, str]:
    """Run a program as forkexecd does; return status, standard output and error."""
    try:
        process = subprocess.Popen(
            [program, argument], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, cwd='/', env=dict({'PATH': SEARCH_PATH}, **environment))
    except OSError as error:
        return 127, '', str(error)
    output, complaint = process.communicate()
    return (process.returncode, output.decode('utf-8', 'replace'),
            complaint.decode('utf-8', 'replace'))


def _read_answer(output: str) -> str:
    try:
        values, _ = xmlrpc.client.loads(output)
    except xmlrpc.client.Fault as fault:
        raise Failure('XENAPI_PLUGIN_FAILURE', [
            'fault', str(fault.faultCode), str(fault.faultString)]) from fault
    except (ExpatError, xmlrpc.client.ResponseError, ValueError, TypeError) as error:
        raise Failure('XENAPI_PLUGIN_FAILURE', [
            'failed to parse plugin output', output, str(error)]) from error
    return _read_result(values[0] if len(values) == 1 else None, output)


def _read_result(value: Any, output: str) -> str:
    if isinstance(value, dict) and value.get('Status') == 'Success' and 'Value' in value:
        if not isinstance(value['Value'], str):
            raise Failure('INTERNAL_ERROR', ['XMLRPC.RunTimeTypeError(value)'])
        return value['Value']
    if isinstance(value, dict) and value.get('Status') == 'Failure':
        description = [str(word) for word in value.get('ErrorDescription') or ['INTERNAL_ERROR']]
        raise Failure(description[0], description[1:])
    raise Failure('XENAPI_PLUGIN_FAILURE', ['unexpected XMLRPC result', output])


def _list(directory: str) -> List[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
