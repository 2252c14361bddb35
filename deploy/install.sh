#!/bin/sh
# Install vgpu-watcher and vgpu-admin from this checkout, without pip and without a network.
#
#   install.sh [--root DIR] [--wheels DIR]    install, or bring up to date
#   install.sh [--root DIR] --check           say whether what was installed is whole
#   install.sh [--root DIR] --uninstall       remove what was installed, and nothing else
#
# The packages go under a private directory: their names are too common for a shared one. The
# wheels (structlog, APScheduler and what these need) are unpacked beside them; XenAPI is dom0's.
# Configuration and registry are never overwritten and never removed. The simulator stays here.

set -eu

root=
wheels=
action=install
home=/opt/vgpu-watcher
manifest=$home/MANIFEST
source=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
python=${PYTHON:-python3}

complain() {
    printf 'install.sh: %s\n' "$*" >&2
}

fail() {
    complain "$@"
    exit 1
}

usage() {
    sed -n '2,6s/^# \{0,1\}//p' "$0"
}

# What goes where: one "source<TAB>target<TAB>mode" a line.
list_files() {
    for package in watcher registry cli; do
        [ -d "$source/$package" ] || continue
        (cd "$source" && find "$package" -name '*.py' | LC_ALL=C sort) | while IFS= read -r name; do
            printf '%s\t%s\t%s\n' "$source/$name" "$home/lib/$name" 0644
        done
    done
    printf '%s\t%s\t%s\n' "$source/deploy/vgpu-watcher.service" \
        /usr/lib/systemd/system/vgpu-watcher.service 0644
}

list_launchers() {
    printf '%s\t%s\n' /usr/bin/vgpu-watcher watcher /usr/bin/vgpu-admin cli
}

list_targets() {
    list_files | cut -f 2
    list_launchers | cut -f 1
}

# The launcher finds its packages from where it stands itself, so that it also works below --root.
# -E and -s: nobody's environment or home directory decides what root runs. -B: no byte-code that
# an uninstallation would leave behind.
write_launcher() {
    cat >"$root$1.new" <<LAUNCHER
#!$2 -EsB
import os
import sys

top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
sys.path[:1] = [os.path.join(top, 'opt/vgpu-watcher', name) for name in ('lib', 'packages')]
from $3.__main__ import main

sys.exit(main())
LAUNCHER
    chmod 0755 "$root$1.new"
    mv -f "$root$1.new" "$root$1"
}

# Whole lines only, and only below our own places: a damaged manifest must not remove anything else.
is_ours() {
    case $1 in
        */../* | */.. | */./*) return 1 ;;
        "$home"/?* | /usr/bin/vgpu-watcher | /usr/bin/vgpu-admin) return 0 ;;
        /usr/lib/systemd/system/vgpu-watcher.service) return 0 ;;
        *) return 1 ;;
    esac
}

has_placed() {
    [ -f "$root$manifest" ] && grep -Fqx -- "$1" "$root$manifest"
}

check_python() {
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 6))' ||
        fail "$python is missing or older than 3.6"
}

# Everything is looked at before anything is changed.
check_targets() {
    list_targets | while IFS= read -r target; do
        if [ -e "$root$target" ] && ! has_placed "$target"; then
            fail "$root$target is there and not ours: nothing was changed"
        fi
    done
}

unpack_wheels() {
    [ -n "$wheels" ] || return 0
    for wheel in "$wheels"/*.whl; do
        [ -f "$wheel" ] || fail "$wheels holds no wheels"
        "$python" -m zipfile -e "$wheel" "$1"
    done
}

install_all() {
    check_python
    check_targets
    mkdir -p "$root$home"
    touch "$root$manifest"
    interpreter=$(command -v -- "$python")
    {
        list_targets
        printf '%s\n' "$manifest"
    } >"$root$manifest.new"
    stage=$root$home/packages.new
    rm -rf "$stage"
    mkdir "$stage"
    unpack_wheels "$stage"
    (cd "$stage" && find . -type f | LC_ALL=C sort) |
        sed "s|^\\.|$home/packages|" >>"$root$manifest.new"
    # Listed before they are placed: what a broken-off installation left can still be removed.
    LC_ALL=C sort -u "$root$manifest" "$root$manifest.new" >"$root$manifest.both"
    cp "$root$manifest" "$root$manifest.old"
    mv -f "$root$manifest.both" "$root$manifest"
    list_files | while IFS='	' read -r from target mode; do
        mkdir -p "$root$(dirname -- "$target")"
        cp -f -- "$from" "$root$target.new"
        chmod "$mode" "$root$target.new"
        mv -f -- "$root$target.new" "$root$target"
    done
    (cd "$stage" && find . -type f) | while IFS= read -r name; do
        mkdir -p "$root$home/packages/$(dirname -- "$name")"
        mv -f -- "$stage/$name" "$root$home/packages/$name"
    done
    rm -rf "$stage"
    mkdir -p "$root/usr/bin"
    list_launchers | while IFS='	' read -r target package; do
        write_launcher "$target" "$interpreter" "$package"
    done
    mv -f "$root$manifest.new" "$root$manifest"
    remove_listed "$root$manifest.old" "$root$manifest"
    rm -f "$root$manifest.old"
    install_configuration
    reload_manager
    check_imports || complain 'the programs cannot run before these are there (--wheels DIR)'
}

install_configuration() {
    [ -d "$root/etc/vgpu" ] || mkdir -p "$root/etc/vgpu"
    [ -e "$root/etc/vgpu/vgpu-watcher.conf" ] && return 0
    cp "$source/deploy/vgpu-watcher.conf" "$root/etc/vgpu/vgpu-watcher.conf"
    chmod 0644 "$root/etc/vgpu/vgpu-watcher.conf"
}

# Remove what the first list names and the second does not, then the directories left empty.
remove_listed() {
    grep -Fvx -f "$2" "$1" | while IFS= read -r target; do
        if is_ours "$target"; then
            rm -f -- "$root$target"
        else
            complain "left alone, since it is not below our places: $target"
        fi
    done
    find "$root$home" -depth -type d -empty -exec rmdir {} \; 2>/dev/null || :
}

uninstall_all() {
    [ -f "$root$manifest" ] || fail "nothing of ours is installed below ${root:-/}"
    if [ -z "$root" ]; then
        systemctl disable --now vgpu-watcher.service || complain 'the service was not running'
    fi
    rm -rf "$root$home/packages.new"
    cp "$root$manifest" "$root$manifest.old"
    remove_listed "$root$manifest.old" /dev/null
    rm -f "$root$manifest.old" "$root$manifest.new"
    rmdir "$root$home" 2>/dev/null || complain "kept, since files of others are in it: $root$home"
    reload_manager
}

# A --root is an image in the making: its service manager does not run.
reload_manager() {
    [ -z "$root" ] || return 0
    systemctl daemon-reload
    [ "$action" = uninstall ] || systemctl enable vgpu-watcher.service
}

check_imports() {
    "$python" -EsB - "$root$home" <<'PROGRAM'
import importlib
import sys

sys.path[:1] = [sys.argv[1] + '/lib', sys.argv[1] + '/packages']
missing = []
for name in ('XenAPI', 'structlog', 'apscheduler'):
    try:
        importlib.import_module(name)
    except ImportError as error:
        missing.append('%s (%s)' % (name, error))
for problem in missing:
    sys.stderr.write('install.sh: missing package: %s\n' % problem)
sys.exit(bool(missing))
PROGRAM
}

check_all() {
    [ -f "$root$manifest" ] || fail "nothing of ours is installed below ${root:-/}"
    status=0
    while IFS= read -r target; do
        [ -f "$root$target" ] || { complain "missing file: $root$target"; status=1; }
    done <"$root$manifest"
    check_imports || status=1
    [ $status -ne 0 ] || printf '%s\n' 'vgpu-watcher is installed and whole'
    return $status
}

while [ $# -gt 0 ]; do
    case $1 in
        --root=*) root=${1#--root=} ;;
        --root) [ $# -ge 2 ] || { usage >&2; exit 2; }; root=$2; shift ;;
        --wheels=*) wheels=${1#--wheels=} ;;
        --wheels) [ $# -ge 2 ] || { usage >&2; exit 2; }; wheels=$2; shift ;;
        --check) action=check ;;
        --uninstall) action=uninstall ;;
        --help) usage; exit 0 ;;
        *) complain "unknown option: $1"; usage >&2; exit 2 ;;
    esac
    shift
done
root=${root%/}
umask 022

case $action in
    install) install_all ;;
    check) check_all ;;
    uninstall) uninstall_all ;;
esac
