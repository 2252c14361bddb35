"""Writes the man pages beside this file: `python -m docs.man`, from the root of the tree."""

import os

from docs.man.pages import render_pages

DIRECTORY = os.path.dirname(os.path.abspath(__file__))


def main() -> None:
    """Write every page."""
    for name, text in render_pages().items():
        with open(os.path.join(DIRECTORY, name), 'w', encoding='ascii') as stream:
            stream.write(text)


if __name__ == '__main__':
    main()
