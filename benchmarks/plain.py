"""The plain way: the loop of floor.py with the stock XenAPI package, which speaks XML-RPC."""

import json
import sys

import XenAPI

from benchmarks.floor import KEY, tell_ready


def main(path: str, table: str) -> None:
    """Follow the events for ever."""
    with open(table, encoding='utf-8') as stream:
        spans = json.load(stream)
    session = XenAPI.Session('http://' + path.replace('/', '_') + '/',
                             transport=XenAPI.UDSTransport())
    session.xenapi.login_with_password('root', '', '1.0', 'plain')
    token = ''
    while True:
        is_first = not token
        # By its name as text: `from` is a word of Python's own.
        answer = session.xenapi_request('event.from', (['vm'], token, 30.0))
        token = answer['token']
        for event in answer['events']:
            record = event.get('snapshot')
            if record and record['uuid'] in spans and KEY not in record['platform'] \
                    and 'start' in record['current_operations'].values():
                session.xenapi.VM.add_to_platform(event['ref'], KEY, spans[record['uuid']])
        if is_first:
            tell_ready()


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2])
