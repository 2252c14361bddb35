"""P21: over TCP the daemon stages, and never verifies."""

from typing import Callable

from tests.integration.daemon.world import World, span


def test_over_tcp_a_vm_is_staged_and_its_boot_unverified(
        build_world: Callable[..., World]) -> None:
    world = build_world(listen=('127.0.0.1', 0), password='sesame')
    world.xapi.start()
    world.registry.create('test')
    password_path = world.config_path + '.password'
    with open(password_path, 'w', encoding='utf-8') as stream:
        stream.write('sesame\n')
    with open(world.config_path, encoding='utf-8') as stream:
        text = stream.read()
    with open(world.config_path, 'w', encoding='utf-8') as stream:
        stream.write(text.replace('unix:' + world.socket_path, 'http://%s:%d\npassword_file = %s'
                                  % (tuple(world.xapi.address) + (password_path,))))
    world.start_daemon()
    ref = world.create_vm()
    world.register(ref, 5)
    world.wait_args(ref, span(5))
    assert world.start_vm(ref).args == span(5)
    assert world.booted(ref)['verdict'] == 'unverified'
    assert not any('sesame' in line for line in world.daemon.raw)
