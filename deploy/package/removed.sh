#!/bin/sh
# The last step of a removal, when all files are gone: the RPM's %postun, and called by install.sh.
# $1 is how many versions stay installed: with one or more it was an upgrade. VGPU_ROOT is the
# directory that all was installed below, if not /.
#
# Registry and journal stay, and the configuration if it was edited; the log does not.

[ "$1" -eq 0 ] || exit 0
root=${VGPU_ROOT:-}
if [ -d "$root/run/systemd/system" ]; then
    systemctl daemon-reload
    # It lets go of the log, whose rule is gone.
    systemctl try-restart rsyslog.service
fi
# Those with a date are of rotations before 0.2 on a host with `dateext`.
rm -f "$root"/var/log/vgpu-watcher.log "$root"/var/log/vgpu-watcher.log.[0-9]* \
    "$root"/var/log/vgpu-watcher.log-[0-9]*
# No daemon confirms the numbers any more, and no consumer looks for the pause.
rm -rf "$root/run/vgpu-watcher"
rm -f "$root/etc/vgpu/consumer.paused"
# Only where nothing is left in it.
rmdir "$root/etc/vgpu" 2>/dev/null
exit 0
