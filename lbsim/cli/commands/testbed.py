"""``lbsim testbed``: several hosts on one machine, with links of a chosen rate between them.

What the command alone needs is imported where it is used: late, for start-up time alone.
"""

from typing import Annotated

import typer

from lbsim.errors import InputError
from lbsim.units import DATA_RATE

SETTINGS = {"allow_interspersed_args": False}
"""Of the command: what follows COMMAND belongs to it."""


def run_testbed(
    command: Annotated[list[str] | None, typer.Argument(metavar="-- COMMAND...", help="Run on each host.")] = None,
    hosts: Annotated[int, typer.Option(metavar="N", help="Network namespaces.")] = 2,
    rate: Annotated[str, typer.Option(metavar="RATE", help="Of each host's link, each way.")] = "200 Mb/s",
    processes_per_host: Annotated[int, typer.Option(min=1, metavar="N", help="That run COMMAND.")] = 1,
    only_clean: Annotated[  # noqa: FBT002
        bool, typer.Option("--clean", help="Take down what killed testbeds left behind, and do nothing else.")
    ] = False,
) -> None:
    """Run COMMAND on several hosts, made of Linux network namespaces on this machine; needs root and iproute2.

    RANK, WORLD_SIZE and what else torch needs is set, so that Gloo runs over real TCP at the rate given.

    For example:  lbsim testbed --hosts 4 --rate "100 Mb/s" -- python -m lbsim.harness bench all-reduce
    """
    if only_clean:
        from lbsim.testbed.network import clean

        typer.echo(f"took down {clean()} namespaces that no testbed runs in")
        return
    if not command:
        raise InputError("no command to run on the hosts; write lbsim testbed --hosts 4 -- COMMAND")
    raise typer.Exit(_run(command, hosts, _rate(rate), processes_per_host))


def _run(command: list[str], hosts: int, rate: float, processes_per_host: int) -> int:
    from lbsim.testbed.network import put_up

    try:
        with put_up(hosts, rate) as bed:
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
        raise InputError(f"--rate: '{text}'; write one from {DATA_RATE.text(slowest)} to {DATA_RATE.text(fastest)}")
    return rate
