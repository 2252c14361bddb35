#!/bin/sh
# Install vgpu-watcher and vgpu-admin from the tarball that this file came in, without pip, rpm or a
# network. The RPM has the same content, and is the better choice where rpm is.
#
#   install.sh [--root DIR]                install, or bring up to date
#   install.sh [--root DIR] --check        say whether what was installed is whole
#   install.sh [--root DIR] --uninstall    remove what was installed, and nothing else
#
# An edited configuration, and the registry, are never overwritten and never removed.

set -eu

root=
action=install
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
home=/opt/vgpu-watcher
# One "mode<TAB>kind<TAB>sha256<TAB>path" a line; kind is file or config.
manifest=$home/MANIFEST
mark=$home/TARBALL
tab=$(printf '\t')

complain() {
    printf 'install.sh: %s\n' "$*" >&2
}

fail() {
    complain "$@"
    exit 1
}

usage() {
    sed -n '5,7p' "$0" | cut -c 3-
}

# Whole paths only, and only below our own places: a damaged manifest must not remove anything else.
is_ours() {
    case $1 in
        */../* | */.. | */./*) return 1 ;;
        "$home"/?* | /usr/bin/vgpu-watcher | /usr/bin/vgpu-admin) return 0 ;;
        /usr/lib/systemd/system*/*vgpu-watcher.* | /etc/*/*vgpu-watcher*) return 0 ;;
        /usr/share/*/*vgpu-* | /usr/share/man/man7/vgpu.7) return 0 ;;
        *) return 1 ;;
    esac
}

list_paths() {
    cut -f 4 "$1"
}

# The RPM has a manifest too, and no such mark.
refuse_beside_rpm() {
    if [ -f "$root$manifest" ] && [ ! -f "$root$mark" ]; then
        fail 'the RPM is installed: use rpm for it, or remove it first'
    fi
}

# Everything is looked at before anything is changed.
check_targets() {
    [ -f "$here/tree$manifest" ] || fail "no tree beside $here/install.sh: 'make tarball' makes one"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 6))' ||
        fail 'python3 is missing or older than 3.6'
    placed=$root$manifest
    [ -f "$placed" ] || placed=/dev/null
    # What was placed before is listed twice, and so is no path that is listed once.
    { grep "^[0-7]*${tab}file$tab" "$here/tree$manifest" | cut -f 4
      list_paths "$placed"
      list_paths "$placed"
    } | LC_ALL=C sort | uniq -u | while IFS= read -r path; do
        [ ! -e "$root$path" ] || is_left_by_older "$path" ||
            fail "$root$path is there and not ours: nothing was changed"
    done || exit 1
}

# Version 0.1, when it was put back in place of this one, left the page that it does not know.
is_left_by_older() {
    [ "$1" = /usr/share/man/man7/vgpu.7 ] && grep -qs '^[.]TH VGPU 7 ' "$root$1"
}

install_all() {
    refuse_beside_rpm
    check_targets
    find "$root$home" -depth -name __pycache__ -exec rm -rf {} + 2>/dev/null || :
    mkdir -p "$root$home"
    # The mark names the step that is due: that of an installation that broke off is not forgotten.
    [ -f "$root$manifest" ] || printf 'installed\n' >"$root$mark"
    touch "$root$mark" "$root$manifest"
    step=$(cat "$root$mark")
    step=${step:-upgraded}
    cp "$root$manifest" "$root$manifest.old"
    # Listed before they are placed: what a broken-off installation left can still be removed.
    LC_ALL=C sort -u "$root$manifest" "$here/tree$manifest" >"$root$manifest.both"
    mv -f "$root$manifest.both" "$root$manifest"
    list_what_to_place | place_all
    remove_listed "$root$manifest.old" "$root$manifest"
    rm -f "$root$manifest.old"
    sh "$root$home/libexec/lifecycle" "$step"
    printf 'upgraded\n' >"$root$mark"
    printf '%s\n' "vgpu-watcher is $step below ${root:-/}; 'vgpu-admin doctor' says what is left to do"
}

# Whether a configuration of the administrator's own is there: a link, or none that we have placed.
is_edited() {
    [ -L "$root$1" ] ||
        { [ -e "$root$1" ] && ! grep -Fq "$tab$(checksum "$1")$tab$1" "$root$manifest.old"; }
}

# "mode<TAB>path" of all but edited configurations; the manifest comes last.
list_what_to_place() {
    while IFS=$tab read -r mode kind _sum path; do
        [ "$kind" = config ] && is_edited "$path" || printf '%s\t%s\n' "$mode" "$path"
    done <"$here/tree$manifest"
    printf '0644\t%s\n' "$manifest"
}

# By renaming: what runs meanwhile finds the old file or the new one, and always a whole one. By one
# Python: programs of the shell, two for each file, would take seconds.
place_all() {
    python3 -I -c '
import os, shutil, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
source, root = sys.argv[1:]
try:
    for line in sys.stdin:
        mode, path = line.rstrip("\n").split("\t")
        target = root + path
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(source + path, target + ".new")
        os.chmod(target + ".new", int(mode, 8))
        os.replace(target + ".new", target)
except OSError as error:
    sys.exit("install.sh: %s" % error)
' "$here/tree" "$root"
}

# Remove what the first manifest names and the second does not, then the directories left empty.
remove_listed() {
    list_paths "$2" >"$root$home/keep"
    list_paths "$1" | grep -Fvx -f "$root$home/keep" | while IFS= read -r path; do
        if is_ours "$path"; then
            printf '%s\0' "$root$path" "$root$path.new"
        else
            complain "left alone, since it is not below our places: $path"
        fi
    done | xargs -0 rm -f --
    rm -f "$root$home/keep"
    find "$root$home" -depth -type d -empty -delete 2>/dev/null || :
}

# As rpm does it: a configuration that was edited is kept, under another name.
remove_configurations() {
    while IFS=$tab read -r _mode kind sum path; do
        [ "$kind" = config ] && [ -f "$root$path" ] && is_ours "$path" || continue
        if [ "$(checksum "$path")" = "$sum" ]; then
            rm -f -- "$root$path"
        else
            # Under this name neither logrotate nor rsyslog reads it.
            mv -f -- "$root$path" "$root$path.rpmsave"
            complain "edited, so it was kept as $root$path.rpmsave"
        fi
    done <"$1"
}

uninstall_all() {
    refuse_beside_rpm
    [ -f "$root$manifest" ] || fail "nothing of ours is installed below ${root:-/}"
    # A removal that broke off is gone on with: the list goes last. It has asked already whether our
    # consumer is in use, without which no VM would start.
    if [ -f "$root$home/libexec/lifecycle" ] || [ "$(cat "$root$mark")" != installed ]; then
        sh "$root$home/libexec/lifecycle" removing
    fi
    printf 'installed\n' >"$root$mark"
    remove_configurations "$root$manifest"
    remove_listed "$root$manifest" /dev/null
    rm -f "$root$manifest.old" "$root$manifest" "$root$mark"
    rmdir "$root$home" 2>/dev/null || complain "kept, since files of others are in it: $root$home"
    # Folders that no other package needs; one that is in use stays.
    rmdir "$root/etc/xensource/bugtool/vgpu-watcher" "$root/etc/xapi.d/pool-pre-ha-vm-restart" \
        "$root/usr/share/doc/vgpu-watcher/monitoring" "$root/usr/share/doc/vgpu-watcher" \
        2>/dev/null || :
    VGPU_ROOT=$root sh "$here/removed.sh" 0
    printf '%s\n' "vgpu-watcher is removed from ${root:-/}; registry and journal stay"
}

checksum() {
    sha256sum <"$root$1" | cut -d ' ' -f 1
}

check_all() {
    [ -f "$root$manifest" ] || fail "nothing of ours is installed below ${root:-/}"
    damage=$(list_missing; list_changed; list_changed_modes)
    if [ -z "$damage" ]; then
        printf '%s\n' 'vgpu-watcher is installed and whole'
    else
        printf '%s\n' "$damage" | while IFS= read -r line; do
            complain "$line"
        done
        return 1
    fi
}

list_missing() {
    list_paths "$root$manifest" | while IFS= read -r path; do
        [ -f "$root$path" ] || printf 'missing file: %s\n' "$root$path"
    done
}

# Sums and modes of all files at once: a program for each would take seconds.
list_changed() {
    list_present | while IFS=$tab read -r _mode sum path; do
        printf '%s  %s\n' "$sum" "$path"
    done | LC_ALL=C sha256sum -c --quiet 2>/dev/null | while IFS= read -r line; do
        printf 'changed file: %s\n' "${line%: FAILED*}"
    done
}

# A mode that is expected and found is listed twice.
list_changed_modes() {
    { list_present | cut -f 1,3
      list_present | cut -f 3 | tr '\n' '\0' | xargs -0 stat -c "0%a$tab%n"
    } | LC_ALL=C sort | uniq -u | cut -f 2 | LC_ALL=C sort -u | while IFS= read -r path; do
        printf 'changed mode: %s\n' "$path"
    done
}

# "mode<TAB>sha256<TAB>path" of each file that is there; a configuration may be changed.
list_present() {
    while IFS=$tab read -r mode kind sum path; do
        [ "$kind" != file ] || [ ! -f "$root$path" ] ||
            printf '%s\t%s\t%s\n' "$mode" "$sum" "$root$path"
    done <"$root$manifest"
}

while [ $# -gt 0 ]; do
    case $1 in
        # A name that is empty, such as that of a variable, does not mean this host.
        --root=?*) root=${1#--root=} ;;
        --root) [ -n "${2:-}" ] || { usage >&2; exit 2; }; root=$2; shift ;;
        --wheels=* | --wheels) fail 'the packages that we need are in the tarball: leave it out' ;;
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
