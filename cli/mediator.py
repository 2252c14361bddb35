"""What the GPU mediator, which reads the same file, cannot take.  Pure."""

from registry.values import MEDIATOR_ROWS


def describe_excess(count: int) -> str:
    """Say that more VMs are registered than the mediator takes; '' while they are not."""
    if count <= MEDIATOR_ROWS:
        return ''
    return (f'{count} VMs are registered, and the GPU mediator takes {MEDIATOR_ROWS} rows at most: '
            'the others boot with their arguments, and it does not know them')
