"""The command line: convert, info, verify, check, clean, balance, synth, bench, demo.

Exit codes: 0 well done, 1 the data or the machine is at fault, 2 the command is, 130 interrupted. What was
asked for goes to stdout, errors and progress to stderr. A command imports what it needs when it runs.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from fastload.errors import ArgumentError, ExistsError, FastloadError

if TYPE_CHECKING:
    from fastload.block.dataset import Dataset, FieldSize
    from fastload.block.statistics import FieldStatistics
    from fastload.clean import Plan, QualityReport
    from fastload.schema import Field
    from fastload.synth.quality import Limits, SynthesisReport
    from fastload.synth.tables import TableSynthesizer

OK, DATA_PROBLEM, USAGE, INTERRUPTED = 0, 1, 2, 130
NEAR_DECIMALS, DELTA = 3, 1e-5
TRUTHS = {"false": False, "true": True}
MAX_SHOWN = 16  # columns of a vector field, or classes, listed one by one by `info`


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. `arguments` are those after the program's name.

    >>> main(["info", "no-such-folder"])
    1
    """
    options = _parser().parse_args(arguments)
    try:
        code = options.run(options)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return _fail(options, "interrupted", INTERRUPTED)
    except ArgumentError as error:
        return _fail(options, f"error: {error}", USAGE)
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the exit's flush cannot fail again
        return DATA_PROBLEM
    except (FastloadError, OSError, MemoryError) as error:
        return _fail(options, f"error: {error or type(error).__name__}", DATA_PROBLEM)


def run() -> NoReturn:
    """The program: ``main``, and the process ends with its code."""
    code = main()
    if code == INTERRUPTED:  # a library's thread may be at work still, and abort an interpreter that ends under it
        gc.collect()  # what a cycle kept cleans up first
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _fail(options: argparse.Namespace, message: str, code: int) -> int:
    if options.debug:
        traceback.print_exc()
    print(f"fastload: {' '.join(message.split())}", file=sys.stderr)
    return code


# --- commands ------------------------------------------------------------------------------------


def _convert(options: argparse.Namespace) -> int:
    from fastload.ingest import convert

    summary = convert(
        options.source[0] if len(options.source) == 1 else options.source,
        options.destination,
        columns=options.columns,
        dtypes=dict(options.dtype),
        pack=dict(options.pack),
        names=options.names,
        split=options.split,
        split_key=options.split_key,
        seed=options.seed,
        codec=options.codec,
        block_bytes=options.block_bytes,
        shard_bytes=options.shard_bytes,
        num_workers=options.threads,
        overwrite=options.overwrite,
        max_categories=options.max_categories,
        null_values=options.null_values,
        delimiter=options.delimiter,
        encoding=options.encoding,
        on_bad_rows=options.on_bad_rows,
        image_mode=options.image_mode,
        image_size=options.image_size,
        progress=False if options.quiet else None,
    )
    reports = _checked_parts(summary.datasets) if options.check else {}
    if options.json:
        quality = {"quality": {name: report.to_json() for name, report in reports.items()}} if reports else {}
        _print_json({**summary.to_json(), **quality})
    else:
        print("\n\n".join(map(str, (summary, *reports.values()))))
    return OK


def _checked_parts(datasets: Mapping[str, Dataset]) -> dict[str, QualityReport]:
    """A quality report of each; that of the first also tells how the second compares with it."""
    from fastload.clean import check_quality

    first, second = [*datasets.values(), None, None][:2]
    return {name: check_quality(ds, against=second if ds is first else None) for name, ds in datasets.items()}


def _info(options: argparse.Namespace) -> int:
    from fastload.block.dataset import Dataset

    dataset = Dataset(options.path)
    if options.json:
        _print_json(_info_json(dataset))
    else:
        print("\n".join(_info_lines(dataset)))
    return OK


def _verify(options: argparse.Namespace) -> int:
    from fastload.block.dataset import Dataset
    from fastload.report.numbers import bytes_text

    try:
        report = Dataset(options.path).verify()
    except FastloadError as error:
        if options.json:  # the answer a script asked for
            _print_json({"ok": False, "error": type(error).__name__, "message": str(error)})
        raise
    found = {name: getattr(report, name) for name in ("shards", "blocks", "chunks", "stored_bytes")}
    if options.json:
        _print_json({"ok": True, **found})
    else:
        print(
            f"{options.path}: sound; {_count(found['shards'], 'shard')}, {_count(found['blocks'], 'block')}, "
            f"{_count(found['chunks'], 'chunk')}, {bytes_text(found['stored_bytes'])} checked"
        )
    return OK


def _check(options: argparse.Namespace) -> int:
    from fastload.clean import check_quality, check_statistics
    from fastload.clean.gate import Condition
    from fastload.clean.page import quality_page

    conditions = [Condition.parse(text) for text in options.fail_on]
    if options.quick:
        asked = {
            "--against": options.against,
            "--range and --allowed": options.rules,
            "--missing-numbers": options.missing_numbers,
            "--near-decimals": options.near_decimals != NEAR_DECIMALS,
        }
        for name, given in asked.items():
            if given:
                raise ArgumentError(f"{name} needs the rows, and --quick reads none: leave one of them out")
        report = check_statistics(options.table, label=options.label)
    else:
        report = check_quality(
            options.table,
            against=options.against,
            label=options.label,
            memory_bytes=options.memory_limit,
            **_looks(options),
        )
    if options.json == "-":
        _print_json(report.to_json())
    else:
        print(report)
    for path, text in (
        (options.json if options.json != "-" else None, lambda: json.dumps(_plain(report.to_json()), indent=2) + "\n"),
        (options.html, lambda: quality_page(report)),
    ):
        if path:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text())
    failures = [failure for condition in conditions if (failure := condition.failure(report))]
    for failure in failures:
        print(f"fastload: the check failed: {failure}", file=sys.stderr)
    return DATA_PROBLEM if failures else OK


def _looks(options: argparse.Namespace) -> dict[str, Any]:
    """What to look for, as `check_quality` has it."""
    rules: dict[str, dict[str, Any]] = {}
    for name, rule in options.rules:
        rules.setdefault(name, {}).update(rule)
    return {"rules": rules, "missing_numbers": options.missing_numbers, "near_decimals": options.near_decimals}


def _clean(options: argparse.Namespace) -> int:
    from fastload.clean import Plan, clean_file

    if (options.plan is None) == (not options.auto):
        raise ArgumentError("say which steps to take: --plan FILE, or --auto for those that a check proposes")
    if options.destination is None and not options.dry_run:
        raise ArgumentError("say where to write what is cleaned, or give --dry-run to see what would be done")
    looks = options.rules or options.missing_numbers or options.label or options.near_decimals != NEAR_DECIMALS
    if options.plan is not None and looks:
        raise ArgumentError(
            "--range, --allowed, --missing-numbers, --label and --near-decimals are for --auto; with --plan, write what they ask "
            "for into the plan"
        )
    if options.write_plan and os.path.exists(options.write_plan) and not options.overwrite:
        raise ExistsError(f"{options.write_plan} exists; choose another file or give --overwrite")
    plan = Plan.load(options.plan) if options.plan is not None else _proposed(options)
    proposal = plan.to_toml(f"Proposed by fastload clean --auto for {options.source}.") if options.auto else ""
    report = clean_file(
        options.source,
        None if options.dry_run else options.destination,
        plan,
        memory_bytes=options.memory_limit,
        overwrite=options.overwrite,
    )
    if options.write_plan:
        with open(options.write_plan, "w", encoding="utf-8") as file:
            file.write(proposal if options.dry_run and proposal else plan.to_toml(f"Learned from {options.source}."))
    if options.json:
        _print_json(report.to_json())
    else:
        print(report)
        if options.dry_run:
            print("nothing was written: this was a dry run")
    return OK


def _proposed(options: argparse.Namespace) -> Plan:
    from fastload.clean import check_quality, propose_plan
    from fastload.clean.profile import Looks

    looks = _looks(options)
    report = check_quality(options.source, label=options.label, memory_bytes=options.memory_limit, **looks)
    return propose_plan(report, Looks(options.label, **looks))


def _balance(options: argparse.Namespace) -> int:
    from fastload.balance.datasets import balance_dataset
    from fastload.balance.figure import classes_chart, classes_page
    from fastload.block.dataset import Dataset

    source = Dataset(options.source)
    balanced = balance_dataset(
        source,
        options.destination,
        label=options.label,
        method=options.method,
        sampling_strategy=_strategy_of(source, options),
        k_neighbors=options.k_neighbors,
        seed=options.seed,
        codec=options.codec,
        overwrite=options.overwrite,
    )
    before, after = ({str(name): rows for name, rows in found.items()} for found in (balanced.before, balanced.after))
    if options.plot:
        lead = f"{options.source} by {options.method}, to {options.destination}"
        is_page = options.plot.endswith((".html", ".htm"))
        text = classes_page("Balanced classes", lead, before, after) if is_page else classes_chart(before, after)
        with open(options.plot, "w", encoding="utf-8") as file:
            file.write(text)
    if options.json:
        _print_json({"path": str(options.destination), "rows": len(balanced.dataset), "before": before, "after": after})
    else:
        print("\n".join(_balance_lines(options.label, before, after)))
        print(f"\n{options.destination}: {_count(len(balanced.dataset), 'row')}, before {_count(len(source), 'row')}")
    return OK


def _balance_lines(label: str, before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    from fastload.ingest.summary import format_table
    from fastload.report.numbers import percent_text

    total_before, total_after = sum(before.values()), sum(after.values())
    rows = [
        (name, f"{was:,}", percent_text(was / total_before), f"{now:,}", percent_text(now / total_after))
        for name, was, now in ((name, was, after.get(name, 0)) for name, was in before.items())
    ]
    return format_table((label, "before", "share", "after", "share"), rows, right=(1, 2, 3, 4))


def _strategy_of(source: Dataset, options: argparse.Namespace) -> Any:
    """--sampling-strategy, with its classes in the type of the label."""
    if not isinstance(options.sampling_strategy, dict):
        return options.sampling_strategy
    field = source.schema[options.label]
    if field.categories or field.is_text:
        return options.sampling_strategy
    is_bool = field.dtype == "bool"
    try:
        return {TRUTHS[n.lower()] if is_bool else int(n): rows for n, rows in options.sampling_strategy.items()}
    except (ValueError, KeyError):
        raise ArgumentError(
            f"--sampling-strategy must name classes of {options.label!r}, which are "
            f"{'true and false' if is_bool else 'whole numbers'}; got {', '.join(options.sampling_strategy)}"
        ) from None


def _synth_fit(options: argparse.Namespace) -> int:
    _need("torch", "synth")
    from fastload.clean.frames import check_columns
    from fastload.synth.quality import Limits
    from fastload.synth.synthesizers import METHODS
    from fastload.synth.tables import frame_of

    if os.path.exists(options.model) and not options.overwrite:
        raise ExistsError(f"{options.model} exists; choose another file or give --overwrite")
    limits = Limits.parse(options.limit)
    table = frame_of(options.table)
    check_columns(table, [] if options.target is None else [options.target])
    real, holdout = _held_out(table, options.holdout, options.seed)
    model = METHODS[options.method](**_synth_arguments(options))
    model.fit(real, checkpoint=options.checkpoint, progress=None if not options.quiet else False)
    model.save(options.model)  # what fails from here on does not lose it
    target = None if holdout is None else options.target
    report = model.check(real, holdout=holdout, target=target, limits=limits, seed=options.seed)
    model.save(options.model)
    _show_synthesis(options, report, limits)
    if options.epsilon is not None:
        print(f"fastload: {model.privacy_statement}", file=sys.stderr)
    for failure in model.failures:
        print(f"fastload: the check failed: {failure}", file=sys.stderr)
    if model.failures:
        print(f"fastload: {options.model} was written; fastload synth sample will need --force", file=sys.stderr)
    return OK


def _held_out(table: Any, share: float, seed: int) -> tuple[Any, Any]:
    """Rows to train on, and those that privacy and usefulness are measured by; none where the share is 0."""
    from fastload.synth.privacy import MIN_HOLDOUT

    if not share < 1:
        raise ArgumentError(f"--holdout must be a share of the rows less than 1, got {share:g}")
    if not share:
        return table, None
    held_out = round(len(table) * share)
    if held_out < MIN_HOLDOUT:
        raise ArgumentError(
            f"a hold-out must have {MIN_HOLDOUT} rows or more, and {share:g} of {len(table)} rows is {held_out}: give a "
            "greater --holdout, or --holdout 0 to measure no privacy"
        )
    table = table.sample(fraction=1.0, shuffle=True, seed=seed)
    return table[held_out:], table[:held_out]


def _synth_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """What the model is made with; what was not given is left to its defaults."""
    if options.epsilon is None and options.delta is not None:
        raise ArgumentError("--delta is of differential privacy: give --epsilon, too")
    if options.epsilon is not None and options.method != "autoregressive":
        raise ArgumentError(f"--epsilon is for the method autoregressive; {options.method!r} cannot be trained so")
    given = {"max_steps": options.steps, "batch_size": options.batch_size, "timeout_s": options.timeout_s}
    if options.method == "autoregressive":
        given["target"] = options.target
    if options.epsilon is not None:
        from fastload.synth.differential_privacy import DifferentialPrivacy

        given["privacy"] = DifferentialPrivacy(options.epsilon, DELTA if options.delta is None else options.delta)
    return {
        "discrete": options.discrete or [],
        "missing": options.missing,
        "seed": options.seed,
        "device": options.device,
    } | {name: value for name, value in given.items() if value is not None}


def _synth_sample(options: argparse.Namespace) -> int:
    _need("torch", "synth")
    from fastload.synth.synthesizers import load_synthesizer

    model = load_synthesizer(options.model)
    where = _conditions(model, options.where)
    model.sample_to(
        options.destination,
        options.rows,
        where=where,
        seed=options.seed,
        overwrite=options.overwrite,
        force=options.force,
    )
    print(f"{options.destination}: {_count(options.rows, 'row')}")
    return OK


def _conditions(model: TableSynthesizer, given: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """COLUMN=VALUE, COLUMN=A,B or COLUMN=LOW..HIGH, in the type of the column."""
    from fastload.clean.frames import check_columns, pl

    dtypes = model.columns.dtypes
    check_columns(pl.DataFrame(schema=dtypes), [name for name, _ in given])

    def value(name: str, text: str) -> Any:
        try:
            if dtypes[name] == pl.Boolean:
                return TRUTHS[text.lower()]
            return pl.Series([text]).cast(dtypes[name])[0]
        except (KeyError, pl.exceptions.PolarsError):
            raise ArgumentError(
                f"--where {name}: {text!r} is no value of that column, which holds {dtypes[name]}"
            ) from None

    conditions: dict[str, Any] = {}
    for name, text in given:
        low, dots, high = text.partition("..")
        if dots and not dtypes[name] == pl.String:
            conditions[name] = (value(name, low) if low else None, value(name, high) if high else None)
        else:
            conditions[name] = [value(name, part) if part else None for part in text.split(",")]
    return conditions


def _synth_report(options: argparse.Namespace) -> int:
    _need("torch", "synth")
    from fastload.synth.quality import Limits, check_synthetic, failures
    from fastload.synth.tables import frame_of

    limits = Limits.parse(options.limit)
    tables = {
        name: None if (path := getattr(options, name)) is None else frame_of(path)
        for name in ("real", "synthetic", "holdout", "test")
    }
    report = check_synthetic(**tables, target=options.target, discrete=options.discrete or [], seed=options.seed)
    _show_synthesis(options, report, limits)
    found = failures(report, limits)
    for failure in found:
        print(f"fastload: the check failed: {failure}", file=sys.stderr)
    return DATA_PROBLEM if found else OK


def _show_synthesis(options: argparse.Namespace, report: SynthesisReport, limits: Limits) -> None:
    from fastload.synth.page import synthesis_page

    if options.json:
        _print_json(report.to_json())
    else:
        print(report)
    if options.html:
        with open(options.html, "w", encoding="utf-8") as file:
            file.write(synthesis_page(report, limits=limits))


def _bench(options: argparse.Namespace) -> int:
    _need("torch", "torch")
    from fastload.bench.measure import compare_loaders
    from fastload.bench.page import HEADER, comparison_json, comparison_page, comparison_rows, method_texts
    from fastload.ingest.summary import format_table

    comparison = compare_loaders(
        options.path,
        batch_size=options.batch_size,
        num_epochs=options.epochs,
        num_threads=options.threads,
        max_epoch_s=options.max_seconds,
        scratch=options.scratch,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    if options.html:
        with open(options.html, "w", encoding="utf-8") as file:
            file.write(comparison_page(comparison))
    if options.json:
        _print_json(comparison_json(comparison))
    else:
        rows = comparison_rows(comparison)
        print("\n".join(format_table(HEADER, rows, right=tuple(range(1, len(HEADER) - 1)))))
        print("\n" + "\n".join(method_texts(comparison)))
    return OK if all(measured.agrees is not False for measured in comparison.loaders) else DATA_PROBLEM


def _demo(options: argparse.Namespace) -> int:
    from fastload.demo.run import run_demo

    run_demo(
        options.out,
        max_rows=options.rows,
        num_seeds=options.seeds,
        num_epochs=options.epochs,
        batch_size=options.batch_size,
        keep=options.keep,
        say=lambda line: print(line, flush=True),
    )
    return OK


# --- what info says ------------------------------------------------------------------------------


def _info_json(dataset: Dataset) -> dict[str, Any]:
    sizes = dataset.field_sizes()
    fields = []
    for field in dataset.schema:
        found = vars(dataset.statistics[field.name]).copy()
        counts, lengths = found.pop("class_counts"), found.pop("lengths")
        fields.append(
            {
                **vars(field),
                "type": _type_text(field),
                "stored_bytes": sizes[field.name].stored_bytes,
                "raw_bytes": sizes[field.name].raw_bytes,
                "statistics": found,  # of text: of its lengths
                "lengths": None if lengths is None else {k: v for k, v in vars(lengths).items() if v is not None},
                "class_counts": counts,
            }
        )
    return {
        "path": str(dataset.path),
        "rows": dataset.num_rows,
        "blocks": dataset.num_blocks,
        "shards": dataset.num_shards,
        "size_bytes": dataset.size_bytes,
        "raw_bytes": dataset.raw_bytes,
        "ratio": dataset.raw_bytes / dataset.size_bytes,
        "fields": fields,
    }


def _info_lines(dataset: Dataset) -> list[str]:
    from fastload.ingest.summary import format_table
    from fastload.report.numbers import bytes_text, significant

    lines = [
        f"{dataset.path}: {_count(dataset.num_rows, 'row')}, {_count(dataset.num_blocks, 'block')}, "
        f"{_count(dataset.num_shards, 'shard')}",
        f"{bytes_text(dataset.size_bytes)} on disk, {bytes_text(dataset.raw_bytes)} decoded, "
        f"ratio {significant(dataset.raw_bytes / dataset.size_bytes)}",
        "",
    ]
    sizes, rows = dataset.field_sizes(), []
    for field in dataset.schema:
        rows += _field_rows(field, dataset.statistics[field.name], sizes[field.name])
    header = ("field", "type", "stored", "ratio", "nulls", "NaN", "min", "max", "mean", "std")
    lines += format_table(header, rows, right=tuple(range(2, 10)))
    for field in dataset.schema:
        classes = dataset.statistics[field.name].class_counts
        if classes and (field.categories or len(classes) <= MAX_SHOWN):
            lines += ["", *_class_lines(field.name, classes)]
    return lines


def _field_rows(field: Field, found: FieldStatistics, size: FieldSize) -> list[tuple[str, ...]]:
    """A row for a field; one more for each column of a vector, unless there are very many."""
    import numpy as np

    from fastload.report.numbers import bytes_text, significant

    ratio = significant(size.raw_bytes / size.stored_bytes) if size.stored_bytes else ""
    nans, low, high, mean, std = (np.atleast_1d(v) for v in (found.nans, found.min, found.max, found.mean, found.std))
    head = (field.name, _type_text(field), bytes_text(size.stored_bytes), ratio, f"{found.nulls:,}")
    if field.categories:  # codes are names, not numbers
        return [(*head, "", "", "", "", "")]
    if field.is_text:
        return [(*head, "", f"{low[0]:,} long", f"{high[0]:,} long", f"{_number(mean[0])} long", "")]
    columns = [tuple(map(_number, numbers)) for numbers in zip(low, high, mean, std, strict=True)]
    if len(columns) == 1:
        return [(*head, f"{nans[0]:,}", *columns[0])]
    total = (*head, f"{nans.sum():,}", _number(np.nanmin(low)), _number(np.nanmax(high)), "", "")
    if len(columns) > MAX_SHOWN:
        return [total]
    return [
        total,
        *(("", f"  [{i}]", "", "", "", f"{nans[i]:,}", *column) for i, column in enumerate(columns)),
    ]


def _class_lines(name: str, counts: Mapping[Any, int]) -> list[str]:
    """All classes if they are few, else the most common ones."""
    from fastload.ingest.summary import format_table
    from fastload.report.numbers import percent_text

    total = sum(counts.values())
    common = sorted(counts.items(), key=lambda item: -item[1])
    shown = common if len(common) <= MAX_SHOWN else common[: MAX_SHOWN // 2]
    rows = [(str(value), f"{count:,}", percent_text(count / total)) for value, count in shown]
    if len(shown) < len(common):
        rest = sum(count for _, count in common[len(shown) :])
        rows.append((f"({len(common) - len(shown):,} more)", f"{rest:,}", percent_text(rest / total)))
    return format_table((name, "rows", "share"), rows, right=(1, 2))


def _number(value: Any) -> str:
    from fastload.report.numbers import significant

    number = value.item()
    if isinstance(number, int):
        return f"{number:,}"
    if math.isnan(number):
        return ""
    return f"{number:.4g}" if not 1e-4 <= abs(number) < 1e7 and number else significant(number, 4)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _type_text(field: Field) -> str:
    kind = "category" if field.categories else field.dtype
    shape = f" [{', '.join(map(str, field.shape))}]" if field.shape else " [*]" if field.variable else ""
    return f"{kind}{shape}{' or null' if field.nullable else ''}"


# --- output and input ----------------------------------------------------------------------------


def _print_json(value: Any) -> None:
    print(json.dumps(_plain(value), indent=2, allow_nan=False))


def _plain(value: Any) -> Any:
    """NumPy values -> Python's; what is not finite -> null, since JSON has no word for it."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _need(package: str, extra: str) -> None:
    from importlib.util import find_spec

    from fastload.errors import MissingExtraError

    if find_spec(package) is None:
        raise MissingExtraError(package, extra=extra)


def _listed(text: str) -> list[str]:
    """a,b,c"""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        message = f"expected names with commas between them, got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return names


def _assigned(text: str) -> tuple[str, str]:
    """name=value"""
    name, equals, value = text.partition("=")
    if not (name.strip() and equals and value.strip()):
        message = f"expected NAME=VALUE, got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return name.strip(), value.strip()


def _packed(text: str) -> tuple[str, list[str]]:
    name, columns = _assigned(text)
    return name, _listed(columns)


def _shares(text: str) -> dict[str, float]:
    """train=.8,validation=.2"""
    shares = {}
    for part in _listed(text):
        name, share = _assigned(part)
        try:
            shares[name] = float(share)
        except ValueError:
            message = f"expected a number as the share of {name!r}, got {share!r}"
            raise argparse.ArgumentTypeError(message) from None
    return shares


def _size(text: str) -> tuple[int, int]:
    """height,width"""
    try:
        height, width = map(int, text.split(","))
    except ValueError:
        message = f"expected HEIGHT,WIDTH, got {text!r}"
        raise argparse.ArgumentTypeError(message) from None
    return height, width


def _sampling_strategy(text: str) -> Any:
    """auto, a name, a share, or class=rows,class=rows"""
    if "=" in text:
        counts = {}
        for part in _listed(text):
            name, rows = _assigned(part)
            counts[name] = _at_least(0)(rows)
        return counts
    try:
        return float(text)
    except ValueError:
        return text


def _at_least(minimum: int, kind: Callable[[str], Any] = int) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            number = kind(text)
        except ValueError:
            number = None
        if number is None or not number >= minimum:
            message = f"expected a number of at least {minimum}, got {text!r}"
            raise argparse.ArgumentTypeError(message)
        return number

    return parse


def _bytes(text: str) -> int:
    """512MB, 2GiB, or a number of bytes"""
    units = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
    number = text.strip().rstrip("BGKMbgikm")
    unit = text.strip()[len(number) :].lower()
    try:
        return int(float(number) * units[unit])
    except (ValueError, KeyError):
        message = f"expected a size such as 512MB or 2GiB, got {text!r}"
        raise argparse.ArgumentTypeError(message) from None


def _ranged(text: str) -> tuple[str, dict[str, Any]]:
    """name=low..high"""
    name, bounds = _assigned(text)
    low, dots, high = bounds.partition("..")
    try:
        rule = {which: float(bound) for which, bound in (("low", low), ("high", high)) if bound.strip()}
    except ValueError:
        rule = {}
    if not (dots and rule):
        message = f"expected COLUMN=LOW..HIGH, one of which may be left out, got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return name, rule


def _allowed(text: str) -> tuple[str, dict[str, Any]]:
    """name=a,b,c"""
    name, values = _assigned(text)
    return name, {"allowed": [number if (number := _as_number(v)) is not None else v for v in _listed(values)]}


def _numbers(text: str) -> list[float]:
    numbers = [_as_number(part) for part in _listed(text)]
    if None in numbers:
        message = f"expected numbers with commas between them, got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return numbers


def _as_number(text: str) -> float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


# fmt: off: the parser reads best as a table
# --- the parser ----------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One paragraph like every other error, with the way to the help."""
        self.exit(USAGE, f"fastload: error: {message}; see: {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
    )
    parser = _Parser(
        prog="fastload",
        description="Training data at the speed of memory: block files in, PyTorch batches out.",
        epilog="Exit codes: 0 done, 1 problem with the data, 2 wrong command, 130 interrupted.",
    )
    parser.set_defaults(debug=False)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--version", action=_Version, help="show the version and leave")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)
    for add in (
        _add_convert, _add_info, _add_verify, _add_check, _add_clean, _add_balance, _add_synth, _add_bench, _add_demo,
    ):  # fmt: skip
        add(commands, common)
    return parser


class _Version(argparse.Action):
    def __init__(self, **options: Any) -> None:
        super().__init__(nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from fastload import __version__

        print(f"fastload {__version__}")
        parser.exit()


def _command(
    commands: Any,
    common: argparse.ArgumentParser,
    name: str,
    run: Callable[..., int],
    summary: str,
    example: str,
) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name,
        parents=[common],
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"Example: {example}",
    )
    command.set_defaults(run=run)
    return command


def _add_convert(commands: Any, common: argparse.ArgumentParser) -> None:
    command = _command(
        commands,
        common,
        "convert",
        _convert,
        "convert CSV, Parquet, Arrow, npy, npz, image, CIFAR or MNIST files to a data set",
        "fastload convert flights.csv flights.fl --pack x=temp,wind --split train=.8,validation=.2",
    )
    add = command.add_argument
    add("source", nargs="+", help="a file, several of one kind, or a folder of them")
    add(
        "destination",
        help="folder to write, by habit NAME.fl; with --split, or from a folder that holds train and test, "
        "NAME.train.fl and so on",
    )
    add("--json", action="store_true", help="print the summary as JSON")
    add("--quiet", action="store_true", help="no progress bar")
    add(
        "--check",
        action="store_true",
        help="a quality report of what was written; of the first part against the second",
    )

    add = command.add_argument_group("what is read").add_argument
    add("--columns", type=_listed, metavar="A,B,C", help="read only these")
    add(
        "--pack",
        type=_packed,
        action="append",
        default=[],
        metavar="X=A,B,C",
        help="several numeric columns as one vector field (may be given again)",
    )
    add(
        "--dtype",
        type=_assigned,
        action="append",
        default=[],
        metavar="COLUMN=DTYPE",
        help="store as this: float32, int64, category, string, timestamp[ms] ... (may be given again)",
    )
    add(
        "--max-categories",
        type=_at_least(0),
        default=10_000,
        metavar="N",
        help="text with more distinct values is stored as strings (default: 10000)",
    )

    add = command.add_argument_group("reading CSV").add_argument
    add("--names", type=_listed, metavar="A,B,C", help="column names of a file without header")
    add("--delimiter", metavar="CHARACTER", help="between cells (default: by the file's name)")
    add("--encoding", default="utf-8", help="default: utf-8")
    add("--null-values", type=_listed, metavar="A,B", help="words that mean: missing")

    add = command.add_argument_group("reading images").add_argument
    add("--image-size", type=_size, metavar="HEIGHT,WIDTH", help="resize all to this (default: all have one size)")
    add(
        "--image-mode",
        choices=("RGB", "L", "bytes"),
        default="RGB",
        help="colour, grey, or the files as they are (default: RGB)",
    )

    add = command.add_argument_group("reading CSV or images").add_argument
    add(
        "--on-bad-rows",
        choices=("raise", "skip"),
        default="raise",
        help="skip leaves rows or files out that cannot be read, and counts them (default: raise)",
    )

    add = command.add_argument_group("splitting").add_argument
    add("--split", type=_shares, metavar="PART=SHARE,...", help="such as train=.8,validation=.2")
    add("--split-key", metavar="COLUMN", help="rows with equal values here stay together")
    add("--seed", type=int, default=0, help="of the split (default: 0)")

    add = command.add_argument_group("writing").add_argument
    add("--codec", choices=("lz4", "lz4hc", "raw"), default="lz4", help="default: lz4")
    add("--block-bytes", type=_at_least(1), default=1 << 20, metavar="N", help="default: 1 MiB")
    add("--shard-bytes", type=_at_least(1), default=1 << 28, metavar="N", help="default: 256 MiB")
    add("--threads", type=_at_least(0), metavar="N", help="default: as many as there are CPUs, at most 4")
    add("--overwrite", action="store_true", help="replace the destination")


def _add_info(commands: Any, common: argparse.ArgumentParser) -> None:
    command = _command(
        commands,
        common,
        "info",
        _info,
        "show a data set's schema, sizes, statistics and class counts",
        "fastload info flights.train.fl",
    )
    command.add_argument("path", help="folder of the data set")
    command.add_argument("--json", action="store_true", help="print it as JSON")


def _add_verify(commands: Any, common: argparse.ArgumentParser) -> None:
    command = _command(
        commands,
        common,
        "verify",
        _verify,
        "read a whole data set and check every checksum",
        "fastload verify flights.train.fl",
    )
    command.add_argument("path", help="folder of the data set")
    command.add_argument("--json", action="store_true", help="print the result, good or bad, as JSON")


def _add_check(commands: Any, common: argparse.ArgumentParser) -> None:
    command = _command(
        commands,
        common,
        "check",
        _check,
        "look for missing values, duplicates, outliers, leakage, drift and more in a table",
        'fastload check train.csv --against test.csv --label late --html quality.html --fail-on "leaked>0" "missing>5%"',
    )
    add = command.add_argument
    add("table", help="csv, parquet, arrow, or the folder of a data set")
    add("--against", metavar="OTHER", help="another table, the test data say: rows in both, columns that have drifted")
    add("--json", metavar="FILE", help="write the report as JSON; - prints it instead of the table")
    add("--html", metavar="FILE", help="write the report as a page with plots")
    add(
        "--fail-on",
        nargs="+",
        action="extend",
        default=[],
        metavar="CONDITION",
        help='exit with 1 where one holds: "duplicates>1%%", "missing:age>0", "drift>0.2" ...',
    )
    add("--quick", action="store_true", help="of a data set: what its statistics tell, without reading rows")
    _add_looks(command)


def _add_clean(commands: Any, common: argparse.ArgumentParser) -> None:
    command = _command(
        commands,
        common,
        "clean",
        _clean,
        "clean a table by a plan, in bounded memory",
        "fastload clean train.csv train.fl --auto --write-plan plan.toml; fastload clean test.csv test.fl --plan plan.toml",
    )
    add = command.add_argument
    add("source", help="csv, parquet, arrow, or the folder of a data set")
    add("destination", nargs="?", help="a csv, parquet or arrow file, or NAME.fl for a data set")
    add("--plan", metavar="FILE", help="the steps to take (TOML); what they have learned is applied as it is")
    add("--auto", action="store_true", help="the steps that a check of the table proposes")
    add("--write-plan", metavar="FILE", help="write the plan, with what it has learned (after a dry run: as proposed)")
    add("--dry-run", action="store_true", help="tell what would be done, and write no table")
    add("--overwrite", action="store_true", help="replace the destination, and the plan that is written")
    add("--json", action="store_true", help="print what was done as JSON")
    _add_looks(command)


def _add_looks(command: argparse.ArgumentParser) -> None:
    add = command.add_argument_group("what to look for").add_argument
    add("--label", metavar="COLUMN", help="the column to be learned: never changed, its classes counted")
    add(
        "--range",
        dest="rules",
        type=_ranged,
        action="append",
        default=[],
        metavar="COLUMN=LOW..HIGH",
        help="values outside are impossible (may be given again)",
    )
    add(
        "--allowed",
        dest="rules",
        type=_allowed,
        action="append",
        metavar="COLUMN=A,B,C",
        help="other values are impossible (may be given again)",
    )
    add(
        "--missing-numbers",
        type=_numbers,
        default=[],
        metavar="A,B",
        help="numbers that mean missing: --missing-numbers=-999,9999",
    )
    add(
        "--near-decimals",
        type=int,
        default=NEAR_DECIMALS,
        metavar="N",
        help=f"near duplicates are equal when floats are rounded to so many decimals (default: {NEAR_DECIMALS})",
    )
    add("--memory-limit", type=_bytes, default=1 << 30, metavar="SIZE", help="such as 512MB (default: 1GiB)")


def _add_balance(commands: Any, common: argparse.ArgumentParser) -> None:
    command = _command(
        commands,
        common,
        "balance",
        _balance,
        "balance the classes of a data set: fewer rows of large ones, or new rows of small ones",
        "fastload balance flights.train.fl even.fl --label late --method smotenc --plot classes.svg",
    )
    add = command.add_argument
    add("source", help="folder of the data set; all of it is read into memory")
    add("destination", help="folder to write, by habit NAME.fl; its fields are the same")
    add("--label", required=True, metavar="FIELD", help="the field that holds the classes")
    add(
        "--method",
        choices=("smote", "borderline", "adasyn", "smotenc", "over", "under"),
        default="smote",
        help="smotenc: with categories; over, under: random rows of any kind (default: smote)",
    )
    add(
        "--sampling-strategy",
        type=_sampling_strategy,
        default="auto",
        metavar="WHAT",
        help="auto, minority, 'not majority', ... all; a share such as 0.5; or CLASS=ROWS,CLASS=ROWS (default: auto)",
    )
    add("--k-neighbors", type=_at_least(1), metavar="N", help="of each row (default: 5)")
    add("--seed", type=_at_least(0), default=0, help="of what is drawn (default: 0)")
    add("--codec", choices=("lz4", "lz4hc", "raw"), default="lz4", help="default: lz4")
    add("--plot", metavar="FILE", help="rows of each class before and after, as .svg or .html")
    add("--overwrite", action="store_true", help="replace the destination")
    add("--json", action="store_true", help="print the classes as JSON")


def _add_synth(commands: Any, common: argparse.ArgumentParser) -> None:
    command = commands.add_parser(
        "synth",
        help="learn a table and draw synthetic rows; measure how alike and how revealing such rows are",
        description="Learn a table, draw synthetic rows, measure them.",
        epilog="Example: fastload synth fit train.csv late.synth --target late",
    )
    parts = command.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)
    for add in (_add_synth_fit, _add_synth_sample, _add_synth_report):
        add(parts, common)


def _add_synth_fit(commands: Any, common: argparse.ArgumentParser) -> None:
    command = _command(
        commands,
        common,
        "fit",
        _synth_fit,
        "train a model of a table, and measure the rows that it draws",
        "fastload synth fit train.csv late.synth --target late --html report.html",
    )
    add = command.add_argument
    add("table", help="csv, parquet, arrow, or the folder of a data set")
    add("model", help="file to write, by habit NAME.synth")
    add(
        "--method",
        choices=("autoregressive", "gan", "vae"),
        default="autoregressive",
        help="column after column by likelihood, a conditional GAN, or a variational autoencoder (default: autoregressive)",
    )
    add(
        "--missing",
        choices=("error", "keep"),
        default="error",
        help="keep: missing values are drawn, too (default: error)",
    )
    add("--steps", type=_at_least(1), metavar="N", help="of training (default: as many as suit the rows)")
    add("--timeout-s", type=_at_least(0.1, float), metavar="S", help="training ends after so long")
    add("--batch-size", type=_at_least(1), metavar="ROWS", help="default: 500")
    add("--device", default="cpu", help="default: cpu")
    add("--checkpoint", metavar="FILE", help="write one now and then, and go on from it if it is there")
    add("--epsilon", type=_at_least(0.01, float), metavar="E", help="train with differential privacy (needs opacus)")
    add("--delta", type=_at_least(0.0, float), metavar="D", help=f"of differential privacy (default: {DELTA:g})")
    add(
        "--holdout",
        type=_at_least(0.0, float),
        default=0.2,
        metavar="SHARE",
        help="of the rows, kept from the model to measure privacy and usefulness by; 0 for none (default: 0.2)",
    )
    add("--quiet", action="store_true", help="no progress bar")
    add("--overwrite", action="store_true", help="replace the model")
    _add_measuring(command)


def _add_synth_sample(commands: Any, common: argparse.ArgumentParser) -> None:
    command = _command(
        commands,
        common,
        "sample",
        _synth_sample,
        "draw rows from a model, of any kind or under conditions",
        "fastload synth sample late.synth more.fl --rows 5000 --where late=1 --where distance=500..1000",
    )
    add = command.add_argument
    add("model", help="what fastload synth fit has written")
    add("destination", help="a csv, parquet or arrow file, or NAME.fl for a data set")
    add("--rows", type=_at_least(1), required=True, metavar="N")
    add(
        "--where",
        type=_assigned,
        action="append",
        default=[],
        metavar="COLUMN=VALUE",
        help="what all rows have: a value, A,B for either, LOW..HIGH for a range (may be given again)",
    )
    add("--seed", type=_at_least(0), default=0, help="of what is drawn (default: 0)")
    add("--overwrite", action="store_true", help="replace the destination")
    add("--force", action="store_true", help="write rows of a model that failed its check")


def _add_synth_report(commands: Any, common: argparse.ArgumentParser) -> None:
    command = _command(
        commands,
        common,
        "report",
        _synth_report,
        "measure synthetic rows, from whatever source, beside real ones",
        "fastload synth report train.csv synthetic.csv --holdout holdout.csv --target late --html report.html",
    )
    add = command.add_argument
    add("real", help="the rows that the model was trained on: csv, parquet, arrow, or the folder of a data set")
    add("synthetic", help="rows of the same columns")
    add("--holdout", metavar="TABLE", help="real rows that the model has not seen: without, privacy is hardly measured")
    add(
        "--test",
        metavar="TABLE",
        help="real rows to test on what is learnt from synthetic ones (default: the hold-out)",
    )
    _add_measuring(command)


def _add_measuring(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--target", metavar="COLUMN", help="what others are to predict: tells how useful synthetic rows are")
    add("--discrete", type=_listed, metavar="A,B,C", help="columns of numbers that are categories")
    add(
        "--limit",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=NUMBER",
        help="what rows must keep to: pair_trends=0.6, membership_auc=0.6, usefulness=none ...",
    )
    add("--seed", type=_at_least(0), default=0, help="of all that is drawn (default: 0)")
    add("--json", action="store_true", help="print the report as JSON")
    add("--html", metavar="FILE", help="write the report as a page with plots")


def _add_bench(commands: Any, common: argparse.ArgumentParser) -> None:
    command = _command(
        commands,
        common,
        "bench",
        _bench,
        "measure this data set in fastload and in torch's DataLoader",
        "fastload bench flights.train.fl --html bench.html",
    )
    add = command.add_argument
    add("path", help="folder of the data set")
    add("--batch-size", type=_at_least(1), default=1024, metavar="ROWS", help="default: 1024")
    add("--epochs", type=_at_least(1), default=3, metavar="N", help="through each loader (default: 3)")
    add("--threads", type=_at_least(0), metavar="N", help="of fastload (default: its own)")
    add(
        "--max-seconds",
        type=_at_least(0.1, float),
        default=3.0,
        metavar="S",
        help="an epoch is ended after so long (default: 3)",
    )
    add("--scratch", metavar="FOLDER", help="where the rows are written for torch (default: a temporary one)")
    add("--json", action="store_true", help="print the figures as JSON")
    add("--html", metavar="FILE", help="write a page with a plot")


def _add_demo(commands: Any, common: argparse.ArgumentParser) -> None:
    command = _command(
        commands,
        common,
        "demo",
        _demo,
        "train a small network on real flights, through fastload and through torch's DataLoader",
        "fastload demo --out demo.html",
    )
    add = command.add_argument
    add("--out", default="fastload-demo.html", metavar="FILE", help="default: fastload-demo.html")
    add("--rows", type=_at_least(1), metavar="N", help="so many flights (default: all)")
    add("--seeds", type=_at_least(1), default=3, metavar="N", help="default: 3")
    add("--epochs", type=_at_least(1), default=4, metavar="N", help="default: 4")
    add("--batch-size", type=_at_least(1), default=1024, metavar="ROWS", help="default: 1024")
    add("--keep", metavar="FOLDER", help="keep the block files there")
