"""How inconvenient this XAPI shall be: every knob, with a default."""

from typing import NamedTuple, Optional, Tuple


class Settings(NamedTuple):
    """All that a simulator can be told before it starts."""
    socket_path: Optional[str] = None          # Unix socket, pre-authenticated as root
    listen: Optional[Tuple[str, int]] = None   # TCP, port 0 takes a free one
    host_directory: Optional[str] = None       # where the host shows xenstore and /proc
    era: str = 'B'                             # batching of event.from: A, B or C
    event_from_delay: Optional[Tuple[float, float]] = None  # (before, between) as xapi.conf has it
    cutoff_seconds: float = 0.005              # from a start's first VM event to the metadata push
    step_seconds: float = 0.002                # between other writes of an operation
    build_seconds: float = 0.02                # from the metadata push to QEMU
    running_seconds: float = 0.01              # from QEMU to the first write that tells of it
    shutdown_seconds: float = 0.05             # what a guest takes to stop
    suspend_seconds: float = 0.05              # what writing or reading a memory image takes
    push_seconds: float = 0.005                # from a VM event to xapi's push of the metadata
    call_delay_seconds: float = 0.0            # added to every call but the long poll
    whole_map_seconds: float = 0.005           # between the read and the whole-map write of step 5
    conflict_wait_seconds: float = 30.0        # xapi repeats on conflicts; real: up to 2 hours
    forward_seconds: float = 0.0               # what handing a call on to the master takes
    member_patience_seconds: float = 10.0      # until a member without a master restarts
    master_goes_silently: bool = False         # what was handed on hears nothing, not HTTP 500
    fuse_seconds: float = 0.1                  # between an answer and the restart it asks for
    boot_seconds: float = 0.05                 # HOST_STILL_BOOTING after a restart of xapi
    database_sync_seconds: Optional[float] = None  # between two copies to members; real: 300
    login_penalty_seconds: float = 5.0         # what a bad password costs over TCP
    session_idle_seconds: float = 86400.0
    sessions_per_originator: int = 500
    unix_connections: int = 1024               # when so many are open, xapi stops accepting
    tcp_connections: int = 800
    xapi_version: str = '26.1.4'
    consumer: str = 'working'                  # who reads device-model-args: consumer.py has them
    consumer_path: Optional[str] = None        # the shipped wrapper; None: beside the simulator
    consumer_configuration: Optional[str] = None  # the daemon's; None: host_directory has it
    is_master: bool = True                     # of the host whose socket this is
    hosts: int = 1
    plugins_directory: Optional[str] = None    # what host.call_plugin may run
    plugin_environment: Tuple[Tuple[str, str], ...] = ()  # beside a search path
    username: str = 'root'
    password: str = ''                         # over TCP; the Unix socket takes any
    accounts: Tuple[Tuple[str, str, str], ...] = ()  # others over TCP: name, password, role
    seed: int = 1
    guest_tools: bool = True                   # whether guests answer: VM_LACKS_FEATURE if not
    guests_set_clock: bool = False             # a halt then writes another timeoffset, late
    pause_seen: bool = True                    # hard_shutdown shows the VM Paused for a moment
    vms: int = 0
    templates: int = 0
    snapshots: int = 0
    disks_per_vm: int = 1
    interfaces_per_vm: int = 1
    nvram_bytes: int = 0                       # size of NVRAM['EFI-variables'] of new VMs

    @property
    def version(self) -> Tuple[int, ...]:
        """Return the version of xapi as numbers, (0,) when it is not made of numbers."""
        words = self.xapi_version.split('-')[0].split('.')
        return tuple(int(word) for word in words) if all(map(str.isdigit, words)) else (0,)
