"""The demo's own parts: the port of its Home Assistant."""

from contextlib import ExitStack
import socket

from scripts.demonstration.processes import PORTS, free_port, is_free


def listening(port: int) -> socket.socket:
    """Return a socket that listens on a port of 127.0.0.1; 0 for any."""
    return socket.create_server(("127.0.0.1", port))


def test_a_port_for_later_goes_to_no_server_that_listens_on_any(
    socket_enabled: None,
) -> None:
    # It was one of those, and a simulated device got it now and then.
    with ExitStack() as servers:
        taken = [servers.enter_context(listening(0)) for _ in range(50)]

        assert free_port() in PORTS
        assert not {each.getsockname()[1] for each in taken} & set(PORTS)


def test_a_port_that_is_taken_is_not_free(socket_enabled: None) -> None:
    with listening(0) as server:
        assert not is_free(server.getsockname()[1])
