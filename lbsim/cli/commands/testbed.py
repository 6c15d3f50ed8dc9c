"""``lbsim testbed``: several emulated hosts on one machine, with rate-limited links between them.

Imports that only this command needs are inside the functions, to keep start-up short.
"""

from typing import Annotated

import typer

from lbsim.errors import InputError
from lbsim.units import DATA_RATE

__all__ = ["SETTINGS", "run_testbed"]

SETTINGS = {"allow_interspersed_args": False}
"""Settings of the typer command: options after COMMAND belong to COMMAND."""


def run_testbed(
    command: Annotated[
        list[str] | None, typer.Argument(metavar="-- COMMAND...", help="Command to run on each host.")
    ] = None,
    hosts: Annotated[int, typer.Option(metavar="N", help="Number of hosts, each a network namespace.")] = 2,
    rate: Annotated[
        str, typer.Option(metavar="RATE", help="Rate of each host's link, in each direction.")
    ] = "200 Mb/s",
    processes_per_host: Annotated[
        int, typer.Option(min=1, metavar="N", help="Processes per host that run COMMAND.")
    ] = 1,
    only_clean: Annotated[  # noqa: FBT002
        bool, typer.Option("--clean", help="Only remove the namespaces that killed testbeds have left.")
    ] = False,
) -> None:
    """Run COMMAND on several emulated hosts: network namespaces of this machine. Needs root and iproute2.

    RANK, WORLD_SIZE and the other variables of torch.distributed are set, so that Gloo uses TCP at the given rate.

    For example:  lbsim testbed --hosts 4 --rate "100 Mb/s" -- python -m lbsim.harness bench all-reduce
    """
    if only_clean:
        from lbsim.testbed.network import remove_stale_testbeds

        typer.echo(f"removed {remove_stale_testbeds()} namespaces of testbeds that no longer run")
        return
    if not command:
        raise InputError("no command to run on the hosts; write e.g. lbsim testbed --hosts 4 -- COMMAND")
    raise typer.Exit(_run(command, hosts, _rate(rate), processes_per_host))


def _run(command: list[str], hosts: int, rate: float, processes_per_host: int) -> int:
    from lbsim.testbed.network import create_testbed

    try:
        with create_testbed(hosts, rate) as bed:
            return bed.run(command, lambda where, line: typer.echo(f"{where}: {line}"), processes_per_host)
    except KeyboardInterrupt:
        return 130


def _rate(text: str) -> float:
    try:
        rate = DATA_RATE.parse(text)
    except ValueError as error:
        raise InputError(f"--rate: {error}") from None
    slowest, fastest = 1e4, 1e11
    if not slowest <= rate <= fastest:
        raise InputError(
            f"--rate: '{text}' is out of range; write {DATA_RATE.text(slowest)} to {DATA_RATE.text(fastest)}"
        )
    return rate
