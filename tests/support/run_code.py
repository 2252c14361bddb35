"""Runs the Python code that is its first word, as `python -c` does: `python -m tests.support.run_code CODE WORD…`."""

import sys

if __name__ == '__main__':
    exec(sys.argv.pop(1), {'__name__': '__main__'})
