"""From the configuration to what the decision needs of it."""

from watcher.config.settings import Settings
from watcher.vm.plan import Policy


def build_policy(settings: Settings, is_accepted: bool) -> Policy:
    """What the configuration says of the device, and whether the registry was taken over."""
    return Policy(settings.device.template, settings.device.known_names, is_accepted)
