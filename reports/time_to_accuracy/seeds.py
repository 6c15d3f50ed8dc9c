"""Table of published choices of batch and GPUs beside those of ``lbsim plan``.

python reports/time_to_accuracy/seeds.py writes the comparison of `lbsim.accuracy.record_choices` to ``seeds.csv``.
"""

from pathlib import Path

from lbsim.accuracy.record_choices import PUBLISHED_CHOICES, compare, write_table

TABLE = Path(__file__).parent / "seeds.csv"


def main() -> None:
    rows = [compare(published) for published in PUBLISHED_CHOICES]
    write_table(rows, TABLE)
    for row in rows:
        print(f"{row.seed}, {row.gpus:,} GPUs: batch {row.batch:,}, the plan's {row.batch_planned:,};", end=" ")
        print(f"epochs {row.epochs:g}, the plan's {row.epochs_at_batch:g};", end=" ")
        print(f"minutes {row.minutes_published:g}, predicted {row.minutes_predicted:g};", end=" ")
        print(
            f"over the front: time {row.time_over_front - 1:.1%}, GPU-hours {row.gpu_hours_over_front - 1:.1%};",
            end=" ",
        )
        print(f"free: {row.free_recipe}, {row.free_batch:,}, {row.free_epochs:g} epochs, {row.free_minutes:g} minutes")


if __name__ == "__main__":
    main()
