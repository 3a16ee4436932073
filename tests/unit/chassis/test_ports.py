"""Free ports: where they lie, and that two processes are not given the same one."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tessera.chassis import ports
from tessera.chassis.ports import HOST, PortClaims

_ASKING = """
import json, sys
from pathlib import Path
from tessera.chassis import ports
ports.FIRST_PORT, ports.PORTS = 19_000, 8
claims = ports.PortClaims(Path(sys.argv[1]))
print(json.dumps([claims.free_port() for _ in range(4)]), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight ports in all, which no other test is given."""
    monkeypatch.setattr(ports, "FIRST_PORT", 19_000)
    monkeypatch.setattr(ports, "PORTS", 8)


def test_a_port_lies_below_those_of_outgoing_connections() -> None:
    """Of Linux (32768 and more) and of macOS."""
    assert 20_000 <= ports.free_port() < 30_000


@pytest.mark.usefixtures("few")
def test_two_processes_are_given_different_ports(tmp_path: Path) -> None:
    """Half of the ports each; the third that asks is told that there is none, until one of the others has ended."""
    command = [sys.executable, "-c", _ASKING, str(tmp_path / "claims")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        theirs = json.loads(other.stdout.readline())
        claims = PortClaims(tmp_path / "claims")
        ours = [claims.free_port() for _ in range(4)]
        assert sorted(theirs + ours) == list(range(ports.FIRST_PORT, ports.FIRST_PORT + 8))
        with pytest.raises(OSError, match=r"no free port of 127\.0\.0\.1 from 19000 to 19007"):
            claims.free_port()
        other.communicate("")
    assert claims.free_port() in theirs


@pytest.mark.usefixtures("few")
def test_a_port_that_somebody_has_is_not_given(tmp_path: Path) -> None:
    """Seven of eight are."""
    with socket.socket() as taken:
        taken.bind((HOST, ports.FIRST_PORT + 3))
        taken.listen()
        claims = PortClaims(tmp_path / "claims")
        given = [claims.free_port() for _ in range(7)]
    assert sorted(given) == [ports.FIRST_PORT + at for at in range(8) if at != 3]


@pytest.mark.usefixtures("few")
def test_where_no_claim_can_be_written_ports_are_found_all_the_same(tmp_path: Path) -> None:
    """A full disk or a folder that is not there; none is given twice."""
    claims = PortClaims(tmp_path / "missing" / "claims")
    assert len({claims.free_port() for _ in range(8)}) == 8
