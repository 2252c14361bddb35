"""What rows look like when they are new: tables, relations and the fields of each class."""

import uuid as uuids
from random import Random
from typing import Any, Dict, Set

from simulator.database.rows import NULL
from simulator.wire.rpc import Date

EPOCH = Date('19700101T00:00:00Z')

# In the order of the datamodel, which is the order of events inside a batch.
TABLES = (
    'session', 'auth', 'subject', 'role', 'task', 'event', 'pool', 'pool_patch', 'pool_update',
    'VM', 'VM_metrics', 'VM_guest_metrics', 'VMPP', 'VMSS', 'VM_appliance', 'VM_group', 'DR_task',
    'host', 'host_crashdump', 'host_patch', 'host_metrics', 'host_cpu', 'network', 'VIF',
    'VIF_metrics', 'PIF', 'PIF_metrics', 'Bond', 'VLAN', 'SM', 'SR', 'VDI', 'VBD', 'VBD_metrics',
    'PBD', 'crashdump', 'VTPM', 'console', 'user', 'blob', 'secret', 'tunnel', 'PCI', 'PGPU',
    'GPU_group', 'VGPU', 'VGPU_type', 'PVS_site', 'Feature', 'SDN_controller', 'PUSB', 'USB_group',
    'VUSB', 'Cluster', 'Cluster_host', 'Certificate', 'Repository', 'Observer', 'network_sriov',
    'PVS_server', 'PVS_proxy', 'PVS_cache_storage', 'sr_stat', 'LVHD', 'probe_result',
    'data_source', 'diagnostics', 'vdi_nbd_server_info', 'Host_driver', 'Driver_variant',
    'Caller', 'Rate_limit', 'message')
SILENT_TABLES = ('session', 'auth', 'user', 'secret', 'event', 'message', 'diagnostics',
                 'data_source', 'probe_result', 'vdi_nbd_server_info', 'sr_stat')

# (table, column) -> (other table, the set there that lists this table's rows)
RELATIONS = {
    ('VBD', 'VM'): ('VM', 'VBDs'),
    ('VIF', 'VM'): ('VM', 'VIFs'),
    ('VUSB', 'VM'): ('VM', 'VUSBs'),
    ('console', 'VM'): ('VM', 'consoles'),
    ('VM', 'resident_on'): ('host', 'resident_VMs'),
    ('VM', 'snapshot_of'): ('VM', 'snapshots'),
    ('VM', 'parent'): ('VM', 'children'),
    ('VM', 'appliance'): ('VM_appliance', 'VMs'),
    ('VBD', 'VDI'): ('VDI', 'VBDs'),
    ('VIF', 'network'): ('network', 'VIFs'),
}

# Fields that only xapi itself writes: they have no setter on the wire.
READ_ONLY: Dict[str, Set[str]] = {
    'VM': {
        'uuid', 'allowed_operations', 'current_operations', 'power_state', 'suspend_VDI',
        'resident_on', 'scheduled_to_be_resident_on', 'memory_overhead', 'memory_target',
        'memory_static_max', 'memory_dynamic_max', 'memory_dynamic_min', 'memory_static_min',
        'consoles', 'VIFs', 'VBDs', 'VUSBs', 'crash_dumps', 'VTPMs', 'domid', 'domarch',
        'last_boot_CPU_flags', 'is_control_domain', 'metrics', 'guest_metrics',
        'last_booted_record', 'is_a_snapshot', 'snapshot_of', 'snapshots', 'snapshot_time',
        'transportable_snapshot_id', 'blobs', 'snapshot_info', 'snapshot_metadata', 'parent',
        'children', 'is_vmss_snapshot', 'is_default_template', 'VGPUs', 'attached_PCIs', 'version',
        'generation_id', 'requires_reboot', 'reference_label', 'pending_guidances',
        'secureboot_certificates_state'},
    'host': {'uuid', 'resident_VMs', 'metrics', 'software_version', 'control_domain', 'enabled'},
    'pool': {'uuid', 'master', 'restrictions', 'ha_enabled'},
}

FEATURES = {'feature-shutdown': '1', 'feature-reboot': '1', 'feature-suspend': '1'}

# The key without which a start writes the whole map, and what it then writes.
DEVICE_MODEL, UPSTREAM = 'device-model', 'qemu-upstream-compat'

PLATFORM = {
    'timeoffset': '0', DEVICE_MODEL: UPSTREAM, 'videoram': '8', 'hpet': 'true',
    'acpi': '1', 'apic': 'true', 'pae': 'true', 'nx': 'true', 'vga': 'std', 'viridian': 'false',
    'cores-per-socket': '1'}

# What a VM's operation can be called, in blocked_operations too.
VM_OPERATIONS = frozenset((
    'snapshot clone copy create_template revert checkpoint snapshot_with_quiesce provision start '
    'start_on pause unpause clean_shutdown clean_reboot hard_shutdown power_state_reset '
    'hard_reboot suspend csvm resume resume_on pool_migrate migrate_send get_boot_record '
    'send_sysrq send_trigger query_services shutdown call_plugin changing_memory_live '
    'awaiting_memory_live changing_dynamic_range changing_static_range changing_memory_limits '
    'changing_shadow_memory changing_shadow_memory_live changing_VCPUs changing_VCPUs_live '
    'changing_NVRAM assert_operation_valid data_source_op update_allowed_operations '
    'make_into_template import export metadata_export reverting destroy create_vtpm sysprep'
).split())

BIOS_STRINGS = {
    'bios-vendor': 'Xen', 'bios-version': '', 'system-manufacturer': 'Xen',
    'system-product-name': 'HVM domU', 'system-version': '', 'system-serial-number': '',
    'baseboard-manufacturer': '', 'baseboard-product-name': '', 'baseboard-version': '',
    'baseboard-serial-number': '', 'baseboard-asset-tag': '',
    'baseboard-location-in-chassis': '', 'enclosure-asset-tag': '', 'hp-rombios': '',
    'oem-1': 'Xen', 'oem-2': 'MS_VM_CERT/SHA1/bdbeb6e0a816d43fa6d3fe8aaef04c2bad9d3e3d'}


class Names:
    """Deterministic UUIDs and references, so that two runs with one seed look alike."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._generations = Random(seed)

    def uuid(self) -> str:
        """Return the next UUID."""
        return str(uuids.UUID(int=self._random.getrandbits(128), version=4))

    def generation_id(self) -> str:
        """Return the next generation id of a VM."""
        return ':'.join(str(self._generations.getrandbits(63)) for _ in range(2))

    def ref(self) -> str:
        """Return the next reference."""
        return 'OpaqueRef:' + self.uuid()


def build_vm(uuid: str, name: str) -> Dict[str, Any]:
    """Build the 92 fields of a halted VM."""
    return {
        'uuid': uuid, 'allowed_operations': [], 'current_operations': {}, 'name_label': name,
        'name_description': '', 'power_state': 'Halted', 'user_version': 1,
        'is_a_template': False, 'is_default_template': False, 'suspend_VDI': NULL,
        'resident_on': NULL, 'scheduled_to_be_resident_on': NULL, 'affinity': NULL,
        'memory_overhead': 77594624, 'memory_target': 0, 'memory_static_max': 8589934592,
        'memory_dynamic_max': 8589934592, 'memory_dynamic_min': 8589934592,
        'memory_static_min': 536870912, 'VCPUs_params': {}, 'VCPUs_max': 4, 'VCPUs_at_startup': 4,
        'actions_after_softreboot': 'soft_reboot', 'actions_after_shutdown': 'destroy',
        'actions_after_reboot': 'restart', 'actions_after_crash': 'restart', 'consoles': [],
        'VIFs': [], 'VBDs': [], 'VUSBs': [], 'crash_dumps': [], 'VTPMs': [], 'PV_bootloader': '',
        'PV_kernel': '', 'PV_ramdisk': '', 'PV_args': '', 'PV_bootloader_args': '',
        'PV_legacy_args': '', 'HVM_boot_policy': 'BIOS order',
        'HVM_boot_params': {'order': 'cdn', 'firmware': 'bios'}, 'HVM_shadow_multiplier': 1.0,
        'platform': dict(PLATFORM), 'PCI_bus': '', 'other_config': {}, 'domid': -1, 'domarch': '',
        'last_boot_CPU_flags': {}, 'is_control_domain': False, 'metrics': NULL,
        'guest_metrics': NULL, 'last_booted_record': '', 'recommendations': '<restrictions/>',
        'xenstore_data': {'vm-data': ''}, 'ha_always_run': False, 'ha_restart_priority': '',
        'is_a_snapshot': False, 'snapshot_of': NULL, 'snapshots': [], 'snapshot_time': EPOCH,
        'transportable_snapshot_id': '', 'blobs': {}, 'tags': [], 'blocked_operations': {},
        'snapshot_info': {}, 'snapshot_metadata': '', 'parent': NULL, 'children': [],
        'bios_strings': {}, 'protection_policy': NULL, 'is_snapshot_from_vmpp': False,
        'snapshot_schedule': NULL, 'is_vmss_snapshot': False, 'appliance': NULL, 'start_delay': 0,
        'shutdown_delay': 0, 'order': 0, 'VGPUs': [], 'attached_PCIs': [], 'suspend_SR': NULL,
        'version': 0, 'generation_id': '0:0', 'hardware_platform_version': 0,
        'has_vendor_device': False, 'requires_reboot': False, 'reference_label': '',
        'domain_type': 'hvm', 'NVRAM': {}, 'pending_guidances': [],
        'pending_guidances_recommended': [], 'pending_guidances_full': [], 'groups': [],
        'secureboot_certificates_state': 'ok'}


def build_vm_metrics(uuid: str) -> Dict[str, Any]:
    """Build a VM_metrics row."""
    return {
        'uuid': uuid, 'memory_actual': 0, 'VCPUs_number': 0, 'VCPUs_utilisation': {},
        'VCPUs_CPU': {}, 'VCPUs_params': {}, 'VCPUs_flags': {}, 'state': [], 'start_time': EPOCH,
        'install_time': EPOCH, 'last_updated': EPOCH, 'other_config': {}, 'hvm': False,
        'nested_virt': False, 'nomigrate': False, 'current_domain_type': 'unspecified'}


def build_guest_metrics(uuid: str, has_tools: bool = True) -> Dict[str, Any]:
    """Build a VM_guest_metrics row; it tells what the guest's agent can do, when there is one."""
    return {
        'uuid': uuid, 'os_version': {}, 'netbios_name': {}, 'PV_drivers_version': {},
        'PV_drivers_up_to_date': True, 'memory': {}, 'disks': {}, 'networks': {},
        'other': dict(FEATURES) if has_tools else {},
        'services': {}, 'last_updated': EPOCH, 'other_config': {}, 'live': True,
        'can_use_hotplug_vbd': 'unspecified', 'can_use_hotplug_vif': 'unspecified',
        'PV_drivers_detected': has_tools}


def build_device(uuid: str, vm: str, position: int) -> Dict[str, Any]:
    """Build what VBDs and VIFs have in common and we use."""
    return {
        'uuid': uuid, 'allowed_operations': ['attach'], 'current_operations': {}, 'VM': vm,
        'device': str(position), 'currently_attached': False, 'status_code': 0,
        'status_detail': '', 'runtime_properties': {}, 'other_config': {}, 'qos_algorithm_type': '',
        'qos_algorithm_params': {}, 'qos_supported_algorithms': [], 'metrics': NULL}


def build_console(uuid: str, vm: str) -> Dict[str, Any]:
    """Build a console row."""
    return {'uuid': uuid, 'protocol': 'rfb', 'location': f'https://127.0.0.1/console?uuid={uuid}',
            'VM': vm, 'other_config': {}, 'port': -1}


def build_vdi(uuid: str, name: str) -> Dict[str, Any]:
    """Build a VDI row, here always a memory image."""
    return {'uuid': uuid, 'name_label': name, 'name_description': '', 'allowed_operations': [],
            'current_operations': {}, 'SR': NULL, 'VBDs': [], 'crash_dumps': [],
            'virtual_size': 1 << 30, 'physical_utilisation': 1 << 30, 'type': 'suspend',
            'sharable': False, 'read_only': False, 'other_config': {}, 'tags': []}


def build_host(uuid: str, number: int, metrics: str, version: str,
               minor: int) -> Dict[str, Any]:
    """Build a host row."""
    return {
        'uuid': uuid, 'name_label': f'host-{number}', 'name_description': 'Default install',
        'memory_overhead': 0, 'allowed_operations': [], 'current_operations': {},
        'API_version_major': 2, 'API_version_minor': minor, 'API_version_vendor': 'XenSource',
        'API_version_vendor_implementation': {}, 'enabled': True,
        'software_version': {
            'product_version': '8.3.0', 'product_version_text': '8.3', 'platform_name': 'XCP',
            'platform_version': '3.4.0', 'product_brand': 'XCP-ng', 'build_number': 'release',
            'hostname': 'localhost', 'date': '20260504T00:00:00Z', 'dbv': '0.0.1',
            'xapi': '.'.join(version.split('.')[:2]), 'xapi_build': version, 'xen': '4.17.6',
            'linux': '4.19.0+1', 'xencenter_min': f'2.{minor}', 'xencenter_max': f'2.{minor}',
            'product_version_text_short': '8.3', 'db_schema': '5.793', 'git_id': '4',
            'network_backend': 'openvswitch'},
        'other_config': {}, 'capabilities': [], 'cpu_configuration': {}, 'sched_policy': 'credit',
        'supported_bootloaders': [], 'resident_VMs': [], 'logging': {}, 'PIFs': [],
        'suspend_image_sr': NULL, 'crash_dump_sr': NULL, 'crashdumps': [], 'patches': [],
        'updates': [], 'PBDs': [], 'host_CPUs': [], 'cpu_info': {'cpu_count': '8'},
        'hostname': f'xcp-{number}', 'address': f'127.0.0.{number}', 'metrics': metrics,
        'license_params': {}, 'ha_statefiles': [], 'ha_network_peers': [], 'blobs': {}, 'tags': [],
        'external_auth_type': '', 'external_auth_service_name': '',
        'external_auth_configuration': {}, 'edition': 'xcp-ng', 'license_server': {},
        'bios_strings': {}, 'power_on_mode': '', 'power_on_config': {}, 'local_cache_sr': NULL,
        'chipset_info': {'iommu': 'true'}, 'PCIs': [], 'PGPUs': [], 'PUSBs': [],
        'ssl_legacy': False, 'guest_VCPUs_params': {}, 'display': 'enabled',
        'virtual_hardware_platform_versions': [0, 1, 2], 'control_domain': NULL,
        'updates_requiring_reboot': [], 'features': [], 'iscsi_iqn': '', 'multipathing': False,
        'uefi_certificates': '', 'certificates': [], 'editions': ['xcp-ng'],
        'pending_guidances': [], 'tls_verification_enabled': True, 'last_software_update': EPOCH,
        'https_only': False, 'latest_synced_updates_applied': 'unknown', 'numa_affinity_policy':
        'default_policy', 'pending_guidances_recommended': [], 'pending_guidances_full': [],
        'last_update_hash': '', 'console_idle_timeout': 0, 'ssh_enabled': True,
        'ssh_enabled_timeout': 0, 'ssh_expiry': EPOCH, 'ssh_auto_mode': True,
        'secure_boot': False, 'max_cstate': '', 'ntp_mode': 'Factory', 'ntp_custom_servers': [],
        'timezone': 'UTC'}


def build_host_metrics(uuid: str) -> Dict[str, Any]:
    """Build a host_metrics row."""
    return {'uuid': uuid, 'memory_total': 64 << 30, 'memory_free': 48 << 30, 'live': True,
            'last_updated': EPOCH, 'other_config': {}}


def build_pool(uuid: str, master: str) -> Dict[str, Any]:
    """Build the one pool row."""
    return {
        'uuid': uuid, 'name_label': 'simulated', 'name_description': '', 'master': master,
        'default_SR': NULL, 'suspend_image_SR': NULL, 'crash_dump_SR': NULL, 'other_config': {},
        'ha_enabled': False, 'ha_configuration': {}, 'ha_statefiles': [],
        'ha_host_failures_to_tolerate': 0, 'ha_plan_exists_for': 0, 'ha_allow_overcommit': False,
        'ha_overcommitted': False, 'blobs': {}, 'tags': [], 'gui_config': {},
        'health_check_config': {}, 'wlb_url': '', 'wlb_username': '', 'wlb_enabled': False,
        'wlb_verify_cert': False, 'redo_log_enabled': False, 'redo_log_vdi': NULL,
        'vswitch_controller': '', 'restrictions': {'platform_filter': 'false'},
        'metadata_VDIs': [], 'ha_cluster_stack': 'xhad', 'allowed_operations': [],
        'current_operations': {}, 'guest_agent_config': {}, 'cpu_info': {'cpu_count': '8'},
        'policy_no_vendor_device': False, 'live_patching_disabled': False,
        'igmp_snooping_enabled': False, 'uefi_certificates': '', 'is_psr_pending': False,
        'tls_verification_enabled': True, 'repositories': [], 'client_certificate_auth_enabled':
        False, 'client_certificate_auth_name': '', 'repository_proxy_url': '',
        'repository_proxy_username': '', 'repository_proxy_password': NULL,
        'migration_compression': False, 'coordinator_bias': True, 'telemetry_uuid': NULL,
        'telemetry_frequency': 'weekly', 'telemetry_next_collection': EPOCH,
        'last_update_sync': EPOCH, 'update_sync_frequency': 'weekly', 'update_sync_day': 0,
        'update_sync_enabled': False, 'local_auth_max_threads': 8, 'ext_auth_max_threads': 1,
        'ext_auth_cache_enabled': False, 'ext_auth_cache_size': 50, 'ext_auth_cache_expiry': 300,
        'ha_reboot_vm_on_internal_shutdown': True, 'license_server': {}, 'recommendations': {},
        'limit_console_sessions': False, 'vm_console_idle_timeout': 0,
        'custom_uefi_certificates': '', 'auto_update_vm_secureboot_certificates': False}


def build_task(uuid: str, name: str, description: str, created: str, host: str) -> Dict[str, Any]:
    """Build a pending task."""
    return {
        'uuid': uuid, 'name_label': name, 'name_description': description,
        'allowed_operations': ['cancel', 'destroy'], 'current_operations': {},
        'created': Date(created), 'finished': EPOCH, 'status': 'pending', 'resident_on': host,
        'progress': 0.0, 'type': '<none/>', 'result': '', 'error_info': [], 'other_config': {},
        'subtask_of': NULL, 'subtasks': [], 'backtrace': '()'}


def build_session(uuid: str, host: str, now: str, superuser: bool, user: str,
                  originator: str) -> Dict[str, Any]:
    """Build a session row."""
    return {
        'uuid': uuid, 'this_host': host, 'this_user': NULL, 'last_active': Date(now),
        'pool': False, 'other_config': {}, 'is_local_superuser': superuser, 'subject': NULL,
        'validation_time': Date(now), 'auth_user_sid': '', 'auth_user_name': user,
        'rbac_permissions': [], 'tasks': [], 'parent': NULL, 'originator': originator,
        'client_certificate': False}


def coerce(default: Any, value: Any) -> Any:
    """Turn what came over the wire into the type the field has; integers arrive as text."""
    if isinstance(default, bool):
        return value in (True, 'true', '1', 1)
    if isinstance(default, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(default, float):
        return float(value)
    return value


# One row of each class we describe, for the names and types of its fields.
SAMPLES = {
    'VM': build_vm('', ''), 'VM_metrics': build_vm_metrics(''),
    'VM_guest_metrics': build_guest_metrics(''), 'host': build_host('', 1, '', '0', 0),
    'host_metrics': build_host_metrics(''), 'pool': build_pool('', ''),
    'task': build_task('', '', '', '', ''), 'session': build_session('', '', '', False, '', ''),
    'console': build_console('', ''), 'VDI': build_vdi('', '')}
