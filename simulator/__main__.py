"""The program xapi-simulator: serves a pool until it is told to stop."""

import argparse
import signal
import sys
import threading
from typing import List, Optional, Tuple

from simulator.hypervisor.consumer import CONSUMERS
from simulator.pool import PoolSimulator
from simulator.server import Simulator
from simulator.settings import Settings

EXAMPLE = 'example: xapi-simulator serve --socket /tmp/sim/xapi --vms 20'
_SIGNAL_SECONDS = 0.2


def main(argv: Optional[List[str]] = None) -> int:
    """Run the program; return its exit status."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_usage(sys.stderr)
        return 2
    if arguments.pool_directory is not None:
        pool = PoolSimulator(arguments.pool_directory, build_settings(arguments))
        return serve(pool, [pool.socket_path(host) for host in pool.hosts])
    if arguments.socket is None and arguments.listen is None:
        parser.error('one of --socket, --listen and --pool-directory is needed')
    return serve(Simulator(build_settings(arguments)), [arguments.socket or ''])


def serve(simulator: Simulator, sockets: List[str]) -> int:
    """Serve until SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *unused: stop.set())
    simulator.start()
    places = [path for path in sockets if path]
    if simulator.address is not None:
        places.append('{}:{}'.format(*simulator.address))
    print('listening on ' + ' and '.join(places), flush=True)
    # The kernel may give a signal to any thread: the handler runs when this one wakes up.
    while not stop.wait(_SIGNAL_SECONDS):
        continue
    simulator.stop()
    return 0


def build_settings(arguments: argparse.Namespace) -> Settings:
    """Turn the command line into settings."""
    return Settings(
        socket_path=arguments.socket, listen=arguments.listen,
        host_directory=arguments.host_directory, era=arguments.era,
        cutoff_seconds=arguments.cutoff, call_delay_seconds=arguments.call_delay,
        xapi_version=arguments.xapi_version, consumer=arguments.consumer, hosts=arguments.hosts,
        seed=arguments.seed, vms=arguments.vms, templates=arguments.templates,
        snapshots=arguments.snapshots, is_master=not arguments.member,
        consumer_path=arguments.consumer_path,
        consumer_configuration=arguments.consumer_configuration)


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    defaults = Settings()
    parser = argparse.ArgumentParser(prog='xapi-simulator', description=__doc__, epilog=EXAMPLE,
                                     allow_abbrev=False)
    commands = parser.add_subparsers(dest='command', metavar='COMMAND')
    serving = commands.add_parser('serve', help='serve a pool', epilog=EXAMPLE,
                                  allow_abbrev=False)
    add = serving.add_argument
    add('--socket', metavar='PATH', help='Unix socket to listen on')
    add('--listen', metavar='HOST:PORT', type=parse_address, help='TCP address; port 0: any')
    add('--vms', type=int, default=10, metavar='N', help='ordinary VMs (10)')
    add('--templates', type=int, default=3, metavar='N', help='templates (3)')
    add('--snapshots', type=int, default=2, metavar='N', help='snapshots (2)')
    add('--hosts', type=int, default=defaults.hosts, metavar='N', help='hosts of the pool (1)')
    add('--pool-directory', metavar='DIR',
        help='give each host a xapi of its own: DIR/host-1/xapi and so on')
    add('--member', action='store_true', help='be a member that is not the master')
    add('--host-directory', metavar='DIR', help='show xenstore and /proc below this directory')
    add('--cutoff', type=float, default=defaults.cutoff_seconds, metavar='SECONDS',
        help="from a start's first event to the reading of VM.platform (0.005)")
    add('--era', choices=('A', 'B', 'C'), default=defaults.era, help='delays of event.from (B)')
    add('--call-delay', type=float, default=0.0, metavar='SECONDS', help='added to each call (0)')
    add('--consumer', choices=CONSUMERS, default=defaults.consumer,
        help='who reads device-model-args (working)')
    add('--consumer-path', metavar='FILE', help='the shipped wrapper, where it lies elsewhere')
    add('--consumer-configuration', metavar='FILE',
        help="the daemon's configuration, which the wrapper reads")
    add('--seed', type=int, default=defaults.seed, metavar='N', help='of UUIDs and references (1)')
    add('--xapi-version', default=defaults.xapi_version, metavar='V')
    return parser


def parse_address(text: str) -> Tuple[str, int]:
    """Read HOST:PORT."""
    host, colon, port = text.rpartition(':')
    if not colon or not port.isdigit():
        raise argparse.ArgumentTypeError(f'{text!r} is not HOST:PORT')
    return host.strip('[]') or '127.0.0.1', int(port)


if __name__ == '__main__':
    sys.exit(main())
