"""The configuration: what is accepted, and what is said about the rest."""

import os

import pytest

from watcher.config import settings as config
from watcher.config.settings import LogFormat, LogLevel, Settings, XapiAddress, parse_url
from watcher.errors import ConfigError


@pytest.fixture
def load(tmp_path):
    """Load a text, or bytes, as a file."""
    def load_text(text):
        path = tmp_path / 'test.conf'
        path.write_bytes(text.encode('utf-8') if isinstance(text, str) else text)
        return config.load(str(path))
    return load_text


def problems_of(load, text):
    with pytest.raises(ConfigError) as caught:
        load(text)
    return caught.value.problems


CONTRACT = {
    ('xapi', 'url'): 'unix:/var/lib/xcp/xapi', ('xapi', 'username'): 'root',
    ('xapi', 'password_file'): '', ('xapi', 'verify_tls'): 'yes',
    ('registry', 'path'): '/etc/vgpu/vgpu_config.db', ('registry', 'trust_mass_removals'): 'no',
    ('device', 'template'):
        '-device vgpu-stub,pool_id={pool_id},priority={priority},vm_id={vm_id}',
    ('device', 'names'): 'vgpu-stub vgpu-cuda',
    ('host', 'xenstore_read'): '/usr/bin/xenstore-read', ('host', 'proc'): '/proc',
    ('scan', 'interval_seconds'): '60', ('log', 'format'): 'json', ('log', 'level'): 'info'}


def test_defaults_are_those_of_the_contract():
    assert {(key.section, key.name): key.default for key in config.KEYS
            if key.section not in ('metrics', 'mirror', 'consumer')} == CONTRACT


def test_metrics_are_off_by_default_and_the_mirror_is_on():
    assert [(key.name, key.default) for key in config.KEYS
            if key.section in ('metrics', 'mirror')] == [
        ('textfile', ''), ('listen', ''), ('enabled', 'yes'), ('accept_edits', 'no'),
        ('key_file', '/etc/xensource/ptoken')]


def test_every_setting_has_its_key_with_unit_and_reason():
    settings = Settings()
    assert {(section, name) for section in settings._fields
            for name in getattr(settings, section)._fields} \
        == {(key.section, key.name) for key in config.KEYS}
    assert [key for key in config.KEYS if not key.unit or not key.reason] == []


@pytest.mark.parametrize('key', config.KEYS, ids=lambda key: '%s-%s' % (key.section, key.name))
def test_default_passes_its_own_check(load, key):
    assert load('[%s]\n%s = %s\n' % (key.section, key.name, key.default)) == Settings()


@pytest.mark.parametrize('text', [
    pytest.param('', id='empty'),
    pytest.param('# nothing\n; at all\n', id='comments'),
    pytest.param('[xapi]\n[log]\n', id='empty-sections'),
])
def test_what_is_not_said_is_default(load, text):
    assert load(text) == Settings()


def test_rendered_settings_are_read_back_as_they_were(load):
    settings = load('[xapi]\nurl = https://[fe80::1]:444\nverify_tls = OFF\n[device]\nnames = a b\n'
                    '[scan]\ninterval_seconds = 5\n[log]\nformat = console\nlevel = debug\n')
    assert load(config.render(settings)) == settings
    assert settings != Settings()
    assert (settings.log.format, settings.log.level) == (LogFormat.CONSOLE, LogLevel.DEBUG)


@pytest.mark.parametrize('text, value', [
    pytest.param('username = a # b', 'a # b', id='hash-inside'),
    pytest.param('username = a ; b', 'a ; b', id='semicolon-inside'),
    pytest.param('username = %(url)s %d', '%(url)s %d', id='no-interpolation'),
    pytest.param('username = a = b', 'a = b', id='equals-inside'),
    pytest.param('username=  a  ', 'a', id='blanks-around'),
    pytest.param('username = J\u00f6rg', 'J\u00f6rg', id='utf-8'),
    pytest.param('username = a\r', 'a', id='line-ends-of-windows'),
])
def test_value_is_taken_as_it_stands(load, text, value):
    assert load('[xapi]\n%s\n' % text).xapi.username == value


@pytest.mark.parametrize('url, address', [
    pytest.param('unix:/a b/c', XapiAddress('unix', path='/a b/c'), id='unix'),
    pytest.param('http://127.0.0.1:8080', XapiAddress('http', host='127.0.0.1', port=8080),
                 id='http-with-port'),
    pytest.param('http://dom0', XapiAddress('http', host='dom0', port=80), id='http'),
    pytest.param('https://dom0.example/', XapiAddress('https', host='dom0.example', port=443),
                 id='https'),
    pytest.param('https://[::1]:9', XapiAddress('https', host='::1', port=9), id='ipv6'),
])
def test_url_is_taken_apart(url, address):
    assert parse_url(url) == address


@pytest.mark.parametrize('url', [
    'dom0', 'ftp://dom0', 'http://', 'http://a:0', 'http://a:65536', 'http://a:x', 'http://a/path',
    'http://root:secret@a', 'http://[::g]', 'http://::1', 'unix:', 'unix:relative',
    'unix:/' + 'x' * 107, 'http://a b', 'http://a?x=1'])
def test_url_that_cannot_be_used_is_refused(load, url):
    problem, = problems_of(load, '[xapi]\nurl = %s\n' % url)
    assert 'test.conf: [xapi] url: ' in problem


@pytest.mark.parametrize('section, key, value, part', [
    ('xapi', 'username', '', 'one line'),
    ('xapi', 'username', 'a\n  b', 'one line'),
    ('xapi', 'username', 'a\x1bb', 'control character'),
    ('xapi', 'password_file', 'secret', 'absolute'),
    ('xapi', 'verify_tls', 'maybe', 'neither yes nor no'),
    ('xapi', 'verify_tls', '', 'neither yes nor no'),
    ('registry', 'path', 'vgpu.db', 'absolute'),
    ('registry', 'path', '', 'one line'),
    ('device', 'names', 'a b,c', 'no name of a device'),
    ('host', 'proc', '', 'one line'),
    ('host', 'xenstore_read', 'xenstore-read', 'absolute'),
    ('scan', 'interval_seconds', '0', 'whole number'),
    ('scan', 'interval_seconds', '86401', 'whole number'),
    ('scan', 'interval_seconds', '1.5', 'whole number'),
    ('scan', 'interval_seconds', '+5', 'whole number'),
    ('scan', 'interval_seconds', '\u0665', 'whole number'),
    ('scan', 'interval_seconds', '60 # a minute', 'whole number'),
    ('log', 'format', 'xml', 'json, console'),
    ('log', 'level', 'INFO', 'debug, info, warning, error'),
    ('log', 'colour', 'yes', 'no such key'),
    ('Log', 'level', 'info', 'no such section'),
    ('DEFAULT', 'level', 'info', 'no such section'),
    ('timing', '', '', 'no such section'),
])
def test_bad_value_is_named_with_file_section_and_key(load, section, key, value, part):
    problem, = problems_of(load, '[%s]\n%s\n' % (section, key and '%s = %s' % (key, value)))
    assert 'test.conf: [%s]%s: ' % (section, ' ' + key if key else '') in problem
    assert part in problem


def test_all_problems_are_told_at_once(load):
    found = problems_of(load, '[xapi]\nurl = x\nverify = 1\n[log]\nlevel = loud\n[other]\na = b\n')
    assert [problem.split(': ')[1] for problem in found] == [
        '[xapi] url', '[xapi] verify', '[log] level', '[other] a']


@pytest.mark.parametrize('interval', [1, 86400])
def test_interval_may_reach_its_limits(load, interval):
    settings = load('[scan]\ninterval_seconds = %d\n' % interval)
    assert settings.scan.interval_seconds == interval


@pytest.mark.parametrize('template, part', [
    pytest.param('', '-device NAME', id='empty'),
    pytest.param('vgpu-stub,vm_id={vm_id}', '-device NAME', id='no-option'),
    pytest.param('-device  vgpu-stub,vm_id={vm_id}', '-device NAME', id='two-blanks'),
    pytest.param('-device 1x,vm_id={vm_id}', '-device NAME', id='odd-name'),
    pytest.param('-device {pool_id},vm_id={vm_id}', '-device NAME', id='name-is-a-placeholder'),
    pytest.param('-device x,pool_id={pool_id}', '{vm_id}', id='without-vm-id'),
    pytest.param('-device x,vm_id={vm_id},a={other}', "'a'", id='unknown-placeholder'),
    pytest.param('-device x,vm_id={vm_id},a={}', "'a'", id='empty-placeholder'),
    pytest.param('-device x,vm_id={vm_id!r}', "'vm_id'", id='conversion'),
    pytest.param('-device x,vm_id={vm_id:>300}', "'vm_id'", id='format-specification'),
    pytest.param('-device x,vm_id={vm_id.real}', "'vm_id'", id='attribute'),
    pytest.param('-device x,vm_id={vm_id},vm_id=2', 'each key once', id='key-twice'),
    pytest.param('-device x,vm_id={vm_id},A=1', 'key=value', id='odd-key'),
    pytest.param('-device x,vm_id={vm_id},a=1 -priv', "'a'", id='blank-in-value'),
    pytest.param('-device x,vm_id={vm_id},a="1"', "'a'", id='quote'),
    pytest.param('-device x,vm_id={vm_id},a=b/c', "'a'", id='slash'),
    pytest.param('-device x,vm_id={vm_id},a=\u00fc', "'a'", id='not-ascii'),
    pytest.param('-device x,vm_id={vm_id},a=' + 'x' * 240, '255 bytes', id='too-long'),
])
def test_template_outside_the_grammar_is_refused_with_the_reason(load, template, part):
    problem, = problems_of(load, '[device]\ntemplate = %s\n' % template)
    assert 'test.conf: [device] template: ' in problem
    assert part in problem


def test_longest_template_counts_with_the_largest_values(load):
    # "-device x,n=" + number of 10 digits + ",p=medium,a=" + filling
    fixed = len('-device x,n=2147483646,p=medium,a=')
    text = '[device]\ntemplate = -device x,n={vm_id},p={priority},a=%s\n'
    assert load(text % ('y' * (255 - fixed))).device.template.name == 'x'
    assert '255 bytes' in problems_of(load, text % ('y' * (256 - fixed)))[0]


def test_template_may_use_every_placeholder(load):
    settings = load('[device]\ntemplate = '
                    '-device x,a={pool_id},b={priority},c={priority_level},d={vm_id}\n')
    assert settings.device.template.render('B', 2, 7) == '-device x,a=B,b=high,c=2,d=7'


def test_name_of_the_template_counts_as_ours_though_not_listed(load):
    device = load('[device]\ntemplate = -device new,vm_id={vm_id}\nnames = old\n').device
    assert device.known_names == {'new', 'old'}


@pytest.mark.parametrize('content, part', [
    pytest.param(b'\xef\xbb\xbf[xapi]\n', 'byte order mark', id='bom'),
    pytest.param(b'[xapi]\nusername = a\0b\n', 'line 2 holds a NUL', id='nul'),
    pytest.param(b'[xapi]\nusername = J\xf6rg\n', 'line 2 is not UTF-8', id='latin-1'),
    pytest.param(b'url = x\n', 'no section headers', id='without-section'),
    pytest.param(b'[xapi]\nurl\n', "'url", id='without-value'),
    pytest.param(b'[xapi]\nurl: unix:/x\n', "'url", id='colon'),
    pytest.param(b'[log]\nlevel = info\nlevel = info\n', 'already exists', id='key-twice'),
    pytest.param(b'[log]\n[xapi]\n[log]\n', 'already exists', id='section-twice'),
    pytest.param(b'[' + b'x' * (1 << 20), 'larger than', id='too-large'),
    pytest.param(b'SQLite format 3\0', 'NUL', id='another-file'),
])
def test_file_that_is_no_configuration_is_refused_on_one_line(load, content, part):
    problem, = problems_of(load, content)
    assert 'test.conf: ' in problem
    assert part in problem
    assert '\n' not in problem


@pytest.mark.parametrize('make, part', [
    pytest.param(os.mkdir, 'Is a directory', id='directory'),
    pytest.param(os.mkfifo, 'not a regular file', id='named-pipe'),
    pytest.param(lambda path: os.symlink(path, path), 'symbolic links', id='loop'),
    pytest.param(lambda path: None, 'no such file', id='missing'),
])
def test_place_without_a_readable_file_is_an_error_that_names_it(tmp_path, make, part):
    path = str(tmp_path / 'place')
    make(path)
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert str(caught.value).startswith(path + ': ')
    assert part in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read everything')
def test_file_that_may_not_be_read_is_an_error(tmp_path):
    (tmp_path / 'place').write_text('')
    (tmp_path / 'place').chmod(0)
    with pytest.raises(ConfigError, match='cannot be read: Permission denied'):
        config.load(str(tmp_path / 'place'))


def test_missing_default_file_means_the_defaults(tmp_path, monkeypatch):
    monkeypatch.setattr(config, 'DEFAULT_PATH', str(tmp_path / 'none'))
    assert config.load(None) == Settings()


def test_default_file_is_read_and_checked_when_it_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(config, 'DEFAULT_PATH', str(tmp_path / 'default.conf'))
    (tmp_path / 'default.conf').write_text('[log]\nlevel = loud\n')
    with pytest.raises(ConfigError, match='default.conf: .log. level'):
        config.load(None)


def test_settings_cannot_be_changed():
    with pytest.raises(AttributeError):
        Settings().scan.interval_seconds = 1


@pytest.mark.parametrize('key, name, what', [
    ('[metrics]\ntextfile', 'vgpu_config.db', 'the registry'),
    ('[metrics]\ntextfile', 'link', 'the registry'),
    ('[metrics]\ntextfile', 'vgpu_journal.db', 'the journal'),
    ('[metrics]\ntextfile', 'vgpu_config.db.lock', 'the lock'),
    ('[metrics]\ntextfile', 'watcher.conf', 'this configuration'),
    ('[xapi]\npassword_file', 'vgpu_config.db', 'the registry'),
    ('[xapi]\npassword_file', 'watcher.conf', 'this configuration')])
def test_no_key_takes_a_file_of_ours_for_another_purpose(tmp_path, key, name, what):
    (tmp_path / 'vgpu_config.db').write_text('')
    (tmp_path / 'link').symlink_to('vgpu_config.db')
    path = tmp_path / 'watcher.conf'
    path.write_text('[registry]\npath = %s/vgpu_config.db\n%s = %s/%s\n' % (
        tmp_path, key, tmp_path, name), encoding='utf-8')
    with pytest.raises(ConfigError, match=what):
        config.load(str(path))


def test_the_configuration_is_no_registry(tmp_path):
    path = tmp_path / 'watcher.conf'
    path.write_text('[registry]\npath = %s\n' % path, encoding='utf-8')
    with pytest.raises(ConfigError, match='this configuration'):
        config.load(str(path))
