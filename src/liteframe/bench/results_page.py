"""The results page: every table and picture of the records, each half under the records that it was made from."""

from __future__ import annotations

from liteframe.bench import latency_cells, latency_limits_page, latency_page, tiny_world_page
from liteframe.bench.absent_halves import absent_table
from liteframe.bench.latency_record import LatencyRecord
from liteframe.bench.provenance import added_later, provenance
from liteframe.bench.results_records import Records, SweepReport
from liteframe.bench.seed_means import left_out, mean_rows

CHANCE = 0.25
RELATIVES_AT = 16
"""Frames at which the accuracy of a tiny relative is shown beside an encoder's real latency."""
_READ_WITH_CARE = (
    "Half of the loss that taught this world's LLM fell on tokens of WAP, none on those of another reduction: "
    "*Another host* in [PAPER.md](PAPER.md) shows how much of WAP's lead that is. LMA trains on questions of this "
    "world; teacher, reductions and the student after CTD have no such training."
)

_LONGEST_OPEN = 30
_DEVICES = {"cpu": ("On a CPU", "`make bench`"), "gpu": ("On a GPU", "`make bench-gpu`, then `make results`")}


def results_page(records: Records, pictures: dict[str, str]) -> str:
    """The whole of ``RESULTS.md``.

    Args:
        records: of ``read_records``.
        pictures: name -> path beside the page, of those that exist.
    """
    parts = [
        "# Results",
        "Made by `python benchmarks/results.py` from the JSON records in [`records`](records), which `make bench` and "
        "`make bench-gpu` write; nothing here is written by hand. *Model time* is encode + project + prefill; *end to "
        "end* adds decoding and preprocessing. Times are medians at batch 1.",
        _tiny_world(records, pictures),
        *(_other_run(report) for report in records.others),
        "# Real shapes, random weights",
        "The paper's encoder and teacher at 448 px, in a host of published shape; weights are random, so there are "
        "times and no answers.",
        *(_latency(device, records, pictures) for device in _DEVICES),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _tiny_world(records: Records, pictures: dict[str, str]) -> str:
    seeds = [report.rows for report in records.seeds]
    rows, reports = mean_rows(seeds), [report.report for report in records.seeds]
    missing = left_out(seeds)
    questions = sum(min(row.questions for row in of_seed) for of_seed in seeds)
    source = provenance({report.path: report.environment for report in records.seeds})

    def section(title: str, table: str, text: str = "", picture: str = "") -> str:
        image = f"![{title}]({pictures[picture]})" if picture in pictures else ""
        return _section(f"## {title}", text, image, _folded(table)) if table or image else ""

    return "\n\n".join(
        part
        for part in (
            f"# The tiny world, mean of {_seeds(records.seeds)}",
            source,
            added_later({report.path: report.report for report in records.seeds}),
            section(
                "Accuracy by frames",
                tiny_world_page.accuracy_table(rows),
                f"{questions:,} held-out questions in all (chance {CHANCE:.2f}). ± is the half of a 95 % interval: "
                "bootstrap over the videos of each seed, added up as independent errors."
                + (f" Not in every report, so left out: {', '.join(missing)}." if missing else ""),
                "frontier",
            ),
            section(
                "What the numbers say",
                tiny_world_page.notes(rows, seeds, CHANCE),
                _READ_WITH_CARE,
            ),
            section("The other arms one by one", "", picture="rivals"),
            section(
                "At equal latency",
                tiny_world_page.matched_table(seeds),
                "Accuracy at the time that the teacher takes at so many frames, and in brackets the gain over it, "
                "linear in log latency between the arm's frame counts. "
                f"{tiny_world_page.LEAST} beyond its slowest row, whose accuracy stands: with more frames it may be "
                "higher (arms that use the teacher's encoder are timed to 64 frames). - a seed in which it has no row "
                "as fast.",
            ),
            section("Model time, ms", tiny_world_page.model_time_table(rows)),
            section("Where the time goes", tiny_world_page.stage_table(rows), "Milliseconds.", "tiny_stages"),
            section(
                "Speed-up over the teacher at equal frames",
                tiny_world_page.speed_up_table(rows),
                "In brackets: the stage's share of the teacher's model time, and the most that the whole could gain if "
                "the stage took no time (Amdahl's ceiling).",
            ),
            section(
                "Tokens at three points",
                tiny_world_page.token_table(rows),
                "A budget is what the compressor was asked for; methods whose design sets the count give what they do.",
            ),
            _absent(),
            section(
                "Distance to the machine's limit",
                tiny_world_page.floor_table(rows),
                tiny_world_page.limits_line(reports)
                + " The floor is FLOPs over the rate or bytes over the bandwidth, the greater; computed, not timed.",
            ),
            section(
                "Peak memory, MiB", tiny_world_page.memory_table(rows), "Of the whole process, not what was added."
            ),
        )
        if part
    )


def _absent() -> str:
    table = absent_table()
    source = "*As the registry of compressors says; inside the LLM, FastV and PyramidDrop are arms of their own.*"
    return _section("## Halves of methods that are not built", source, table) if table else ""


def _other_run(report: SweepReport) -> str:
    return _section(
        f"## Another run, {report.seed}, not in the means",
        provenance({report.path: report.environment}),
        "Accuracy, then model time in ms.",
        tiny_world_page.accuracy_table(report.rows),
        tiny_world_page.model_time_table(report.rows),
    )


def _latency(device: str, records: Records, pictures: dict[str, str]) -> str:
    title, command = _DEVICES[device]
    if device not in records.latency:
        return _section(f"## {title}", f"Not measured yet: run {command}.")
    path, record = records.latency[device]
    source = provenance({path: record.environment})
    accuracy = {
        row.arm: row.accuracy for row in mean_rows([r.rows for r in records.seeds]) if row.frames == RELATIVES_AT
    }

    def section(name: str, table: str, text: str = "", picture: str = "") -> str:
        image = f"![{name}, {device}]({pictures[f'{picture}_{device}']})" if f"{picture}_{device}" in pictures else ""
        words = " ".join(part for part in (text, latency_cells.legend(table)) if part)
        return _section(f"### {name}", words, image, _folded(table)) if table or image else ""

    return "\n\n".join(
        part
        for part in (
            f"## {title}",
            source,
            _host_line(record),
            section("Latency against frames", latency_page.pipeline_table(record), "Milliseconds.", "frames"),
            section("Where the time goes", "", picture="stages"),
            section(
                "Speed-up over the teacher at equal frames",
                latency_page.speed_up_table(record),
                "In brackets: the stage's share of the teacher's model time, and Amdahl's ceiling, both of times "
                "marked as in the table above.",
            ),
            section(
                "The other arms' latency",
                latency_page.pipeline_table(record, main=False),
                _section("Milliseconds. Encoders are described under *Encoders*.", latency_page.other_arm_list(record)),
            ),
            section("The other arms' speed-up", latency_page.speed_up_table(record, main=False), "As above."),
            section(
                "Encoders",
                latency_page.encoder_table(record, accuracy),
                "Encode + project. An accuracy is that of a tiny relative, named in brackets, in the tiny world at "
                f"{RELATIVES_AT} frames; blank where there is none.\n\n" + latency_page.encoder_list(record),
                "encoders",
            ),
            section("Encoders on long videos", latency_page.long_video_table(record), "Encode + project."),
            section("Temporal mixers, the paper's Table 2", latency_page.mixer_table(record), "Batch 1."),
            section("Prefill of the LLM alone", latency_page.prefill_table(record)),
            section("Throughput", latency_limits_page.throughput_table(record)),
            section("Distance to the machine's limit", latency_limits_page.floor_table(record), _limits_line(record)),
            section("Peak memory, MiB", latency_limits_page.memory_table(record)),
            section("Not run", latency_limits_page.left_out_list(record)),
        )
        if part
    )


def _host_line(record: LatencyRecord) -> str:
    settings = record.settings
    parts = [
        f"host {settings['host']}" if settings.get("host") else "",
        f"{settings['image_size']} px" if settings.get("image_size") else "",
        f"question of {settings['question_tokens']} tokens" if settings.get("question_tokens") else "",
        f"{settings['line_tokens']} tokens of text a frame line" if settings.get("line_tokens") else "",
        f"{settings['decode_tokens']} decoded" if settings.get("decode_tokens") else "",
    ]
    text = ", ".join(part for part in parts if part)
    return f"Settings: {text}." if text else ""


def _limits_line(record: LatencyRecord) -> str:
    limits = record.limits
    if not limits:
        return ""
    names = (("bf16_gflops", "GFLOP/s bf16"), ("fp32_gflops", "GFLOP/s fp32"), ("bandwidth_gbs", "GB/s"))
    rates = ", ".join(f"{limits[n]:,.0f} {w}" for n, w in names if n in limits)
    beaten = latency_limits_page.below_floor(record)
    warning = f" {beaten} stages took less than their floor, so these rates were measured too low." if beaten else ""
    return f"Measured in the same run, the best of several times: {rates}.{warning}"


def _section(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def _folded(table: str) -> str:
    """A long table behind a line to click on."""
    rows = table.count("\n") - 1
    if rows <= _LONGEST_OPEN:
        return table
    return f"<details><summary>the table, {rows} rows</summary>\n\n{table}\n\n</details>"


def _seeds(reports: list[SweepReport]) -> str:
    names = [report.seed for report in reports]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
