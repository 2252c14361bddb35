"""Figures that tests leave for `make assurance`: a JSON document a line, in the file that
SWEEP_FIGURES names."""

import json
import os
from typing import Any


def leave(**figures: Any) -> None:
    """Leave word of what a test has done or measured."""
    path = os.environ.get('SWEEP_FIGURES')
    if path:
        with open(path, 'a', encoding='utf-8') as stream:
            stream.write(json.dumps(figures) + '\n')
