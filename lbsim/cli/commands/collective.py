"""``lbsim collective``: time of one collective, or of a sweep over message sizes.

Tables and the simulation of ranks are imported inside the functions that use them, to keep start-up short.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from lbsim.cli import json_output
from lbsim.cli.options import (
    AllReduceOption,
    ClusterOption,
    Format,
    FormatOption,
    LibraryOption,
    ProfilesOption,
    SetOption,
    SoftwareOption,
    absolute_paths,
    parse_changes,
    profile_folders,
    without_none,
)
from lbsim.cli.terminal import print_json, print_table
from lbsim.errors import InputError
from lbsim.profiles.catalog import Folders
from lbsim.scenario.request import build_scenario
from lbsim.scenario.scenario import Scenario

if TYPE_CHECKING:
    from lbsim.communication.operations import Operation

__all__ = ["collective"]


def collective(
    gpus: Annotated[int, typer.Option(help="Number of GPUs, over all nodes.")],
    operation: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="all-reduce, reduce-scatter, all-gather, all-to-all, broadcast or send-receive."
        ),
    ] = "all-reduce",
    algorithm: Annotated[
        str | None, typer.Option(metavar="NAME", help="Algorithm of the operation, e.g. ring. Default: the library's.")
    ] = None,
    message: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Largest buffer of one GPU, as in nccl-tests, e.g. '100 MiB'.")
    ] = None,
    first: Annotated[str, typer.Option("--from", metavar="SIZE", help="Smallest message size of a sweep.")] = "8",
    last: Annotated[
        str | None, typer.Option("--to", metavar="SIZE", help="Largest message size of a sweep, e.g. '1 GiB'.")
    ] = None,
    factor: Annotated[float, typer.Option(help="Factor between message sizes of a sweep.")] = 2.0,
    all_reduce: AllReduceOption = None,
    group_size: Annotated[
        int | None, typer.Option(help="GPUs per group of a hierarchical all-reduce. Default: GPUs per node.")
    ] = None,
    cluster: ClusterOption = None,
    software: SoftwareOption = None,
    library: LibraryOption = None,
    per_rank: Annotated[  # noqa: FBT002
        bool, typer.Option("--per-rank", help="Simulate each rank in each step, and show when ranks finish.")
    ] = False,
    changes: SetOption = None,
    profile_dirs: ProfilesOption = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Time one collective, or a sweep over message sizes with the columns of nccl-tests.

    For example:  lbsim collective --all-reduce ring --gpus 1024 --message "100 MiB" --cluster mn-1
    """
    if all_reduce and operation != "all-reduce":
        raise InputError(f"--all-reduce: {all_reduce} is for an all-reduce; for {operation} write --algorithm NAME")
    plan = without_none({"gpus": gpus, "all_reduce": all_reduce, "group_size": group_size})
    named = without_none({"cluster": cluster, "software": software, "software.library": library})
    scenario = build_scenario(
        {"plan": plan}, absolute_paths(named | parse_changes(changes or [])), Folders(profile_folders(profile_dirs))
    )
    from lbsim.communication import collective_time  # late, for start-up time
    from lbsim.communication.message_sizes import message_sizes
    from lbsim.communication.operations import find_operation

    sizes, what = message_sizes(message, first, last, factor), find_operation(operation)
    timings = [collective_time.time_collective(scenario, size, what, algorithm) for size in sizes]
    done = _finish_times(scenario, sizes, what, algorithm) if per_rank else ()
    if output is Format.JSON:
        print_json(json_output.timings_json(timings) if message is None else json_output.timing_json(timings[0], done))
    else:
        from lbsim.cli.tables.timing import nccl_tests_table, timing_table

        print_table(nccl_tests_table(timings) if message is None else timing_table(timings[0], done))


def _finish_times(
    scenario: Scenario, sizes: Sequence[float], operation: "Operation", algorithm: str | None
) -> tuple[float, ...]:
    from lbsim.simulation.per_rank import collective_finish_times

    if len(sizes) > 1:
        raise InputError("--per-rank simulates one message size; give --message instead of --to")
    return collective_finish_times(scenario, sizes[0], operation, algorithm)
