"""What stands in the RPM, read with rpm's own queries."""

import os
import re
import shutil
import sys
import zipfile

import pytest

from deploy.package import archives, contents, wheels
from tests.packaging.package.conftest import WHEELS
from tests.packaging.package.host import CONFIGURATION, obtain, run
from tests.support.documents import ROOT, find_rows

# What packages may ask of rpm itself, and rpm has been able to do since 4.6 at least.
OLD_RPM_KNOWS = {'CompressedFileNames', 'FileDigests', 'PayloadFilesHavePrefix',
                 'ScriptletInterpreterArgs', 'VersionedDependencies'}


def query(package, form):
    done = run(['rpm', '-qp', '--queryformat', form, package])
    assert done.status == 0, done.said
    return done.said


def list_files(package):
    """(mode as `ls` shows it, owner and group, path) of each file and directory."""
    lines = query(package, '[%{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILENAMES}\n]')
    return [tuple(line.split(' ', 2)) for line in lines.splitlines()]


def test_payload_and_architecture_are_those_that_dom0_takes(rpm_file):
    assert query(rpm_file, '%{NAME} %{ARCH} %{PAYLOADCOMPRESSOR}') == 'vgpu-watcher noarch gzip'
    assert re.match(r'[0-9.]+\Z', query(rpm_file, '%{VERSION}'))


def test_requirements_are_few_and_plain(rpm_file):
    asked = set(query(rpm_file, '[%{REQUIRENAME}\n]').split())
    of_rpm = {name for name in asked if name.startswith('rpmlib(')}
    assert {name[len('rpmlib('):-1] for name in of_rpm} <= OLD_RPM_KNOWS
    assert asked - of_rpm == {'/bin/sh', '/usr/bin/python3', 'systemd'}


@pytest.mark.parametrize('tag', [
    'RECOMMENDNAME', 'SUGGESTNAME', 'SUPPLEMENTNAME', 'ENHANCENAME', 'FILETRIGGERNAME',
    'TRANSFILETRIGGERNAME', 'TRIGGERNAME', 'CONFLICTNAME', 'PRETRANS', 'POSTTRANS'])
def test_package_has_nothing_of_what_old_rpms_do_not_know_or_we_do_not_need(rpm_file, tag):
    assert query(rpm_file, '[%%{%s}]' % tag) in ('', '(none)')


@pytest.mark.parametrize('tag', ['PREIN', 'POSTIN', 'PREUN', 'POSTUN'])
def test_scriptlets_are_plain_shell(rpm_file, tag):
    assert query(rpm_file, '%%{%sPROG}' % tag) == '/bin/sh'
    script = query(rpm_file, '%%{%s}' % tag)
    assert run(['sh', '-n', '-c', script]) == (0, '')
    assert not re.search(r'\b(pip|curl|wget|yum|dnf)\b', script)


def test_modes_and_owners(rpm_file):
    programs = {path for mode, _owner, path in list_files(rpm_file) if mode == '-rwxr-xr-x'}
    by_xapi = ('/etc/xapi.d/', '/etc/xensource/master.d/')
    assert {path for path in programs if not path.startswith(by_xapi)} - {
        contents.HOME + '/qemu-wrapper/vgpu-qemu-wrapper'} == {
        '/usr/bin/vgpu-watcher', '/usr/bin/vgpu-admin', contents.HOME + '/libexec/lifecycle',
        contents.HOME + '/libexec/backup-registry'}
    assert {(mode, owner) for mode, owner, path in list_files(rpm_file)
            if path not in programs} == {
        ('-rw-r--r--', 'root:root'), ('drwxr-xr-x', 'root:root'), ('lrwxrwxrwx', 'root:root')}


def test_directories_of_others_are_not_taken(rpm_file):
    owned = {path for mode, _owner, path in list_files(rpm_file) if mode.startswith('d')}
    assert {path for path in owned if not (path + '/').startswith(contents.HOME + '/')} \
        == {'/etc/xensource/bugtool/vgpu-watcher', '/etc/xapi.d/pool-pre-ha-vm-restart',
            contents.GUIDES, contents.GUIDES + '/monitoring'}
    assert contents.HOME in owned


def test_no_byte_code_no_compiled_module_and_no_simulator(rpm_file):
    paths = [path for _mode, _owner, path in list_files(rpm_file)]
    assert [path for path in paths
            if 'simulator' in path or re.search(r'\.(pyc|pyo|so)$|__pycache__', path)] == []


def test_all_our_modules_are_in_it(rpm_file):
    packed = {path for _mode, _owner, path in list_files(rpm_file)}
    for package in ('watcher', 'registry', 'cli'):
        modules = {os.path.relpath(os.path.join(parent, name), ROOT)
                   for parent, _rooms, names in os.walk(os.path.join(ROOT, package))
                   for name in names if name.endswith('.py')}
        assert modules and {'%s/lib/%s' % (contents.HOME, path) for path in modules} <= packed


def test_only_what_operators_edit_is_configuration(rpm_file):
    assert set(run(['rpm', '-qpc', rpm_file]).said.split()) == {
        CONFIGURATION, '/etc/logrotate.d/vgpu-watcher', '/etc/rsyslog.d/20-vgpu-watcher.conf'}
    flags = query(rpm_file, '[%{FILEFLAGS:fflags} %{FILENAMES}\n]')
    assert len(re.findall(r'^cn /etc/', flags, re.MULTILINE)) == 3


def test_rule_for_the_log_sorts_before_the_one_that_discards_everything(rpm_file):
    rule, = [path for _mode, _owner, path in list_files(rpm_file) if '/rsyslog.d/' in path]
    assert os.path.basename(rule) < 'xenserver.conf'


def test_size(rpm_file):
    # The figures of docs/deployment.md, with room to grow.
    assert os.path.getsize(rpm_file) < 1000000
    assert int(query(rpm_file, '%{SIZE}')) < 3500000


def match_path(pattern):
    """`…` stands for what a name begins or goes on with, directories below included."""
    return re.compile('.*'.join(re.escape(part) for part in pattern.split('…')) + r'\Z')


def test_each_file_of_the_package_is_described(rpm_file):
    rows = find_rows('docs/deployment.md', 'file')
    assert rows and all(len(row) == 2 and row[1] for row in rows)
    patterns = [match_path(row[0]) for row in rows]
    paths = [path for mode, _owner, path in list_files(rpm_file) if not mode.startswith('d')]
    assert [path for path in paths if not any(pattern.match(path) for pattern in patterns)] == []
    # Programs whose directory this checkout does not have yet are described ahead.
    ahead = [target.format(name) for (directory, target), name in zip(
        contents.PROGRAMS, ('vgpu-qemu-wrapper', 'pool-pre-ha-vm-restart'))
        if not os.path.isdir(os.path.join(ROOT, directory))]
    assert [pattern.pattern for pattern in patterns
            if not any(pattern.match(path) for path in paths + ahead)] == []


def test_tarball_has_the_same_content(rpm_file, tree):
    packed = {path for mode, _owner, path in list_files(rpm_file)
              if not mode.startswith(('d', 'l'))}
    assert {os.path.join(parent, name)[len(tree):]
            for parent, _directories, names in os.walk(tree) for name in names} == packed


def test_the_same_content_gives_the_same_tarball(tmp_path):
    digests = set()
    for name, umask in (('one', 0o022), ('two', 0o077)):
        root = tmp_path / (name + ' root')
        shutil.copytree(os.path.join(ROOT, 'deploy'), str(root / 'deploy'))
        for script in ('install.sh', 'package/removed.sh'):
            path = str(root / 'deploy' / script)
            os.chmod(path, os.stat(path).st_mode & ~umask)
        archives.build_tarball(
            str(root), make_tree(tmp_path / name), '1', str(tmp_path), 1000000000)
        digests.add((tmp_path / 'vgpu-watcher-1.tar.gz').read_bytes())
    assert len(digests) == 1


def make_tree(path):
    """A small tree, made at another time each."""
    (path / 'opt').mkdir(parents=True)
    (path / 'opt/file').write_text('content')
    os.utime(str(path / 'opt/file'), (len(path.name), ord(path.name[0])))
    return str(path)


# What is made from the code.

MAN_PAGES = ('man1/vgpu-admin.1', 'man5/vgpu-watcher.conf.5', 'man7/vgpu.7', 'man8/vgpu-watcher.8')


@pytest.mark.parametrize('page', MAN_PAGES)
def test_formatter_finds_no_fault_with_the_man_page(tree, page):
    path = '%s/usr/share/man/%s' % (tree, page)
    assert run([obtain('groff'), '-man', '-ww', '-z', '-Tascii', path]) == (0, '')


@pytest.mark.parametrize('page', MAN_PAGES)
@pytest.mark.parametrize('width', [40, 60, 78])
def test_man_page_is_copied_from_as_it_is_typed(tree, page, width):
    """No word of an option, a key or a command is broken with a hyphen."""
    path = '%s/usr/share/man/%s' % (tree, page)
    done = run([obtain('groff'), '-man', '-Tutf8', '-P-c', '-rLL=%dn' % width, path])
    assert done.status == 0 and not re.search('\u2010$', done.said, re.MULTILINE)


def test_completion_is_what_bash_understands(tree):
    path = tree + '/usr/share/bash-completion/completions/vgpu-admin'
    assert run(['bash', '-c', '. "$1" && complete -p vgpu-admin', 'bash', path]) \
        == (0, 'complete -o default -F _vgpu_admin vgpu-admin\n')


@pytest.fixture
def tree(installer):
    """The files of the package, as the tarball has them."""
    return os.path.join(os.path.dirname(installer), 'tree')


# The packages of others.

@pytest.mark.parametrize('vendor_set', wheels.SETS, ids=[item.name for item in wheels.SETS])
def test_each_vendored_package_is_pinned_and_pure_python(vendor_set):
    lock = wheels.read_lock(vendor_set.name)
    assert lock and all(re.match(r'[A-Za-z-]+==[0-9.]+\Z', pin) for pin in lock)
    found = wheels.fetch(vendor_set, WHEELS)
    assert len(found) == len(lock)
    assert all(path.endswith('-none-any.whl') for path in found)


@pytest.mark.parametrize('brings', [False, True], ids=['is-there', 'is-downloaded'])
def test_wheel_with_another_hash_is_not_taken(tmp_path, monkeypatch, brings):
    """Neither one that lies there, nor what a pip that does not ask for hashes brings."""
    (tmp_path / 'there').mkdir()
    if not brings:
        (tmp_path / 'there' / 'x.whl').write_bytes(b'something else')
    pip = tmp_path / 'pip'
    pip.write_text('#!/bin/sh\nwhile [ "$1" != --dest ]; do shift; done\n'
                   + 'echo something else > "$2/y.whl"\n' * brings)
    pip.chmod(0o755)
    monkeypatch.setattr(sys, 'executable', str(pip))
    with pytest.raises(RuntimeError, match='not all of its wheels'):
        wheels.fetch(wheels.SETS[-1], str(tmp_path / 'there'))


def test_compiled_module_in_a_wheel_is_refused(tmp_path):
    with zipfile.ZipFile(str(tmp_path / 'x.whl'), 'w') as archive:
        archive.writestr('x/fast.so', '')
    with pytest.raises(RuntimeError, match='not pure Python'):
        wheels.unpack(str(tmp_path / 'x.whl'), str(tmp_path / 'out'))
