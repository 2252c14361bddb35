"""An upgrade from the ISO: the host's file system is reinstalled, the database stays."""

import os
import shutil


def wipe(root: str) -> None:
    """Delete everything below a directory; links are removed, and what they name is not."""
    if os.path.islink(root) or not os.path.isdir(root):
        raise ValueError(f'{root} is no directory of its own')
    for entry in list(os.scandir(root)):
        if entry.is_dir(follow_symlinks=False):
            # rmtree works through descriptors and never goes through a link.
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)
