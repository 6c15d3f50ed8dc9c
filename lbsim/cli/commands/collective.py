"""``lbsim collective``: one all-reduce, or a sweep over sizes.

`lbsim.cli.tables` is imported where a table is printed, `lbsim.simulation.per_rank` where ranks are asked for: late,
for start-up time alone.
"""

from collections.abc import Sequence
from typing import Annotated

import typer

from lbsim.cli import json_output
from lbsim.cli.options import (
    AllReduce,
    Changes,
    Cluster,
    Format,
    Library,
    OutputFormat,
    OwnProfiles,
    Software,
    from_here,
    given,
    own_folders,
    pairs,
)
from lbsim.cli.terminal import print_json, print_table
from lbsim.errors import InputError
from lbsim.profiles.catalog import Folders
from lbsim.scenario.request import build_scenario
from lbsim.scenario.scenario import Scenario


def collective(
    gpus: Annotated[int, typer.Option(help="How many, over all nodes.")],
    message: Annotated[str | None, typer.Option(metavar="SIZE", help="What each GPU hands in, e.g. '100 MiB'.")] = None,
    first: Annotated[str, typer.Option("--from", metavar="SIZE", help="Smallest of a sweep.")] = "8",
    last: Annotated[str | None, typer.Option("--to", metavar="SIZE", help="Largest of a sweep, e.g. '1 GiB'.")] = None,
    factor: Annotated[float, typer.Option(help="From one size of a sweep to the next.")] = 2.0,
    all_reduce: AllReduce = None,
    group_size: Annotated[int | None, typer.Option(help="GPUs of a group. Default: a node's.")] = None,
    cluster: Cluster = None,
    software: Software = None,
    library: Library = None,
    per_rank: Annotated[bool, typer.Option("--per-rank", help="Follow each rank through each step.")] = False,  # noqa: FBT002
    changes: Changes = None,
    own: OwnProfiles = None,
    output: OutputFormat = Format.TABLE,
) -> None:
    """Time one all-reduce, or a sweep over sizes with the columns of nccl-tests.

    For example:  lbsim collective --all-reduce ring --gpus 1024 --message "100 MiB" --cluster mn-1
    """
    plan = given({"gpus": gpus, "all_reduce": all_reduce, "group_size": group_size})
    named = given({"cluster": cluster, "software": software, "software.library": library})
    scenario = build_scenario({"plan": plan}, from_here(named | pairs(changes or [])), Folders(own_folders(own)))
    from lbsim.communication import collective_time  # late, for start-up time alone
    from lbsim.communication.message_sizes import message_sizes

    sizes = message_sizes(message, first, last, factor)
    timings = [collective_time.time_all_reduce(scenario, size) for size in sizes]
    done = _finish_times(scenario, sizes) if per_rank else ()
    if output is Format.JSON:
        print_json(json_output.of_sweep(timings) if message is None else json_output.of_timing(timings[0], done))
    else:
        from lbsim.cli.tables.timing import of_sweep, of_timing

        print_table(of_sweep(timings) if message is None else of_timing(timings[0], done))


def _finish_times(scenario: Scenario, sizes: Sequence[float]) -> tuple[float, ...]:
    from lbsim.simulation.per_rank import all_reduce_finish_times

    if len(sizes) > 1:
        raise InputError("--per-rank: follows one all-reduce; write --message in place of --to")
    return all_reduce_finish_times(scenario, sizes[0])
