"""The options of `vgpu-admin consumer`, which are its alone."""

from cli.commandline import options
from cli.commandline.options import Option, parse_text

ACTIONS = ('enable', 'disable', 'pause', 'resume', 'status')

ACTION = Option('action', '|'.join(ACTIONS), 'what to do', choices=ACTIONS)
ROOT = Option('root', 'DIR', 'the directory that holds dom0 (/)', parse_text)
EXIT_CODE = options.EXIT_CODE._replace(
    summary='exit with 6 while our files must stay: xenopsd uses them, or will')
