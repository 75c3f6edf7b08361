"""Write the reference pages from the code and from results: `python -m docs.generate`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prometheus_client.core import Metric

from cairn.contract import Column, Contract, Target
from cairn.errors import ENDS, NUMBERS, find_allowed
from cairn.evaluation.metric_table import DECIDING, GAINS, OVERALL_LOSSES, TABLE
from cairn.params.file import Params
from docs import speed
from service.http.routes import LABELS, ROUTES, describe_api
from service.process.settings import Settings
from service.telemetry.metrics import CairnCollector, Layout, Metrics, open_table

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "reference"
NOTE = "<!-- Written by `python -m docs.generate` from the code: edit that, not this page. -->"
# The smallest contract that a service can have: its columns are not what these pages are about.
CONTRACT = Contract(
    columns=(Column(name="age", kind="number", missing=False),),
    target=Target(name="churned", classes=("no", "yes")),
)
Json = Mapping[str, Any]


def render_pages() -> dict[str, str]:
    """Return the text of each page by its file name."""
    return {
        "params.md": render_params((ROOT / "params.yaml").read_text(encoding="utf-8")),
        "settings.md": render_settings(),
        "metrics.md": render_metrics(),
        "routes.md": render_routes(),
        "speed.md": render_speed(),
    }


def main() -> None:
    """Write every page."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in render_pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


def render_page(title: str, introduction: str, *sections: str) -> str:
    """Return a page as Markdown, which ends with one line break."""
    return "\n\n".join([NOTE, f"# {title}", introduction, *sections]).rstrip() + "\n"


def render_table(heads: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    """Return a Markdown table; a pipe in a cell does not end it."""
    lines = [heads, ["---"] * len(heads), *rows]
    cells = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def render_speed() -> str:
    """Return the page on speed."""
    sections = (
        f"## {title}\n\n{text}\n\n{render_table(table.heads, iter(table.rows))}"
        for title, text, table in speed.read_sections()
    )
    return render_page("Speed", speed.INTRODUCTION, *sections)


def format_code(value: object) -> str:
    """Return a value as one would write it in YAML or in a shell, as code; nothing for nothing."""
    if value in {None, (), ""}:
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


# params.yaml


def render_params(text: str) -> str:
    """Return the page of params.yaml, whose comments it repeats; `text` is that file."""
    schema = Params.model_json_schema()
    comments = dict(read_comments(text))
    sections = [
        f"## {block}\n\n{describe_block(schema, reference)}\n\n"
        + "\n\n".join(render_block(schema, reference, block, comments))
        for block, reference in schema["properties"].items()
    ]
    introduction = (
        "`params.yaml` configures the pipeline, one block for each stage. `dvc repro` reruns only "
        "the stages that a change reaches. The file in the repository shows every key with a value."
    )
    return render_page("Params", introduction, *sections)


def describe_block(schema: Json, reference: Json) -> str:
    """Return the docstring of a block."""
    return str(resolve(schema, reference)["description"]).split("\n\n")[0].replace("\n", " ")


def render_block(schema: Json, reference: Json, path: str, comments: Json) -> Iterator[str]:
    """Yield a section for each key of a block, and of the blocks in it."""
    for name, field in resolve(schema, reference)["properties"].items():
        key = f"{path}.{name}"
        lines = [f"### `{key}`"]
        inner = resolve(schema, field)
        is_block = "properties" in inner
        if not is_block:
            lines.append(f"Allowed: {describe_type(schema, field)}.")
        if not is_block and "default" in field:
            lines[-1] += f" Default: `{format_yaml(field['default'])}`."
        if key in comments:
            lines.append(comments[key])
        if len(lines) > 1:
            yield "\n\n".join(lines)
        if is_block:
            yield from render_block(schema, field, key, comments)


def resolve(schema: Json, field: Json) -> Json:
    """Return what a field's reference stands for, or the field."""
    if "$ref" not in field:
        return field
    definition: Json = schema["$defs"][field["$ref"].rpartition("/")[2]]
    return definition


def format_yaml(value: object) -> str:
    """Return a default as YAML has it in a line."""
    if value is None:
        return "null"
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False)  # which is YAML, too
    return str(value)


TYPES = {
    "string": "text",
    "integer": NUMBERS[int],
    "number": NUMBERS[float],
    "boolean": "`true` or `false`",
    "null": "`null`",
}


def describe_type(schema: Json, field: Json) -> str:
    """Return in words what a JSON schema takes."""
    field = resolve(schema, field)
    choices = field.get("anyOf", field.get("oneOf"))
    if choices:
        return join_choices([describe_type(schema, each) for each in choices])
    values = field.get("enum", [field["const"]] if "const" in field else None)
    if values:
        return join_choices([f"`{value}`" for value in values])
    if field.get("type") == "array":
        return f"a list of {describe_type(schema, field['items'])}"
    if field.get("type") == "object":
        return describe_mapping(schema, field)
    return f"{TYPES[field['type']]}{describe_bounds(field)}" if "type" in field else "any value"


def join_choices(choices: Sequence[str]) -> str:
    """Return choices as a sentence has them, each once."""
    *firsts, last = dict.fromkeys(choices)
    return f"{', '.join(firsts)} or {last}" if firsts else last


def describe_mapping(schema: Json, field: Json) -> str:
    """Return in words which mapping a schema takes."""
    if "properties" in field:
        inner = field["properties"].items()
        return f"{{{', '.join(f'{name}: {describe_type(schema, each)}' for name, each in inner)}}}"
    values = field.get("additionalProperties")
    of = f" to {describe_type(schema, values)}" if isinstance(values, Mapping) and values else ""
    names = field.get("propertyNames", {}).get("enum")
    return f"a mapping of {join_choices([f'`{name}`' for name in names]) if names else 'names'}{of}"


BOUNDS = {
    "minimum": ENDS["ge"],
    "exclusiveMinimum": ENDS["gt"],
    "maximum": ENDS["le"],
    "exclusiveMaximum": ENDS["lt"],
}


def describe_bounds(field: Json) -> str:
    """Return the ends of a range, after a comma each."""
    ends = [f"{words} {field[key]:,}" for key, words in BOUNDS.items() if key in field]
    return "".join(f", {end}" for end in ends)


KEY = re.compile(r"^( *)(- )?([a-z_0-9]+):")


def read_comments(text: str) -> Iterator[tuple[str, str]]:
    """Yield the dotted key and, as Markdown, the comment above each key of a YAML file."""
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        match = KEY.match(line)
        if line.lstrip().startswith("#"):
            comment.append(line.lstrip()[1:].removeprefix(" "))
        elif match and not match[2]:
            indent = len(match[1])
            path = [*(each for each in path if each[0] < indent), (indent, match[3])]
            if comment:
                yield ".".join(name for _, name in path), render_comment(comment)
            comment = []
        else:
            comment = []


def render_comment(comment: Sequence[str]) -> str:
    """Return a comment as Markdown: what is indented in it is aligned, and stays so."""
    parts: list[str] = []
    lines: list[str] = []
    was_indented = False
    for line in comment:
        is_indented = line.startswith("  ")
        if is_indented != was_indented and lines:
            parts.append(join_lines(lines, indented=was_indented))
            lines = []
        lines.append(line)
        was_indented = is_indented
    return "\n\n".join([*parts, join_lines(lines, indented=was_indented)])


def join_lines(lines: Sequence[str], *, indented: bool) -> str:
    """Return lines as a paragraph, or as a block of text where they are indented."""
    if not indented:
        return " ".join(lines)
    return "\n".join(["```text", *(line.removeprefix("  ") for line in lines), "```"])


# The service's settings


def render_settings() -> str:
    """Return the page of the environment variables."""
    rows = (
        [f"`{name.upper()}`", format_code(field.default), describe_setting(name),
         field.description or ""]
        for name, field in Settings.model_fields.items()
    )  # fmt: skip
    introduction = (
        "The service reads its settings from environment variables when it starts. An empty "
        "variable counts as not set, but `API_KEYS` and `API_KEYS_FILE` are refused if they are "
        "empty. If one is wrong, the service does not start, and prints a "
        "line with the name, what came, and what is allowed."
    )
    listen = (
        "`bentoml serve` takes the address as `--host` and `--port`; the image takes it as `HOST` "
        "(0.0.0.0) and `PORT` (3000)."
    )
    heads = ("setting", "default", "allowed", "what it does")
    return render_page("Settings", introduction, render_table(heads, rows), listen)


def describe_setting(name: str) -> str:
    """Return in words what a setting takes, the same as in its errors."""
    each = find_allowed(Settings, (name, 0))
    if each:
        return f"separated by commas: {each}"
    schema = Settings.model_json_schema()["properties"][name]
    words = find_allowed(Settings, (name,)) or describe_type({}, schema)
    return words.removesuffix(" or `null`")  # an empty variable is none


# Metrics


def render_metrics() -> str:
    """Return the page of the model's metrics and of those for Prometheus."""
    introduction = (
        "Two things are called metrics: how good a model is, and what the service counts while it "
        "runs."
    )
    model = (
        "## Of a model\n\n`evaluation.json`, the model card, the plots, `metrics.json` and the "
        "gates show these. A metric for several classes is the mean over classes, each against the "
        "rest. [Evaluation](../evaluation.md) explains how they are computed.\n\n"
        + render_table(
            ("name", "metric", "better", "of each class", "`train.search.metric`", "`gates`"),
            list_model_metrics(),
        )
    )
    prometheus = (
        "## Of the service\n\n`GET /metrics` answers these in Prometheus' text format, summed over "
        "all workers. [Monitoring](../monitoring.md) explains how to use them.\n\n"
        + render_table(("name", "type", "labels", "meaning"), list_service_metrics())
    )
    return render_page("Metrics", introduction, model, prometheus)


def list_model_metrics() -> Iterator[Sequence[str]]:
    """Yield a row for each metric of a model."""
    gates = dict.fromkeys(GAINS, "minimum") | dict.fromkeys(OVERALL_LOSSES, "maximum")
    for metric in TABLE:
        yield (
            f"`{metric.name}`",
            metric.label,
            metric.direction,
            "yes" if metric.per_class else "",
            "yes" if metric.name in DECIDING else "",
            format_code(gates.get(metric.name)),
        )


def list_service_metrics() -> Iterator[Sequence[str]]:
    """Yield a row for each metric of a service."""
    for family in collect_families():
        labels = dict.fromkeys(
            label for sample in family.samples for label in sample.labels if label != "le"
        )
        name = f"{family.name}_total" if family.type == "counter" else family.name
        yield f"`{name}`", family.type, ", ".join(labels), family.documentation


def collect_families() -> list[Metric]:
    """Return what a service that has answered nothing counts."""
    layout = Layout(CONTRACT, LABELS)
    counts = open_table(layout, 1, None)
    info = {"model_version": "", "git_commit": ""}
    Metrics(layout, counts, 0, 10_000, info, int)
    return list(CairnCollector(layout, counts, info, 1).collect())


# Routes


def render_routes() -> str:
    """Return the page of the routes and of the statuses that each may answer with."""
    document = describe_api(
        CONTRACT, "cairn:0123456789ab", max_rows=10_000, max_body_bytes=10_485_760, keys=True
    )
    rows = (
        [f"`{method.upper()} {path}`", operation["summary"],
         "yes" if operation.get("security") else "", ", ".join(sorted(operation["responses"]))]
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    )  # fmt: skip
    others = [f"`{route.method} {route.path}`" for route in ROUTES if not route.describe]
    introduction = (
        "Every route of the service. One marked *key* asks for a key if `API_KEYS` or "
        "`API_KEYS_FILE` is set; `/metrics` does so only with `METRICS_OPEN=false`. [The API]"
        "(../api.md) explains requests, responses and statuses, and a running service has them for "
        "its own model at `/docs`. Any other path gets 404, one with a slash too many 308, and "
        "any other method 405. `OPTIONS` lists the methods of a route in `Allow`."
    )
    more = (
        f"Not in the OpenAPI document: {', '.join(others)}, the same interface for BentoML's own "
        "client."
    )
    heads = ("route", "what it answers", "key", "statuses")
    return render_page("Routes", introduction, render_table(heads, rows), more)


if __name__ == "__main__":
    main()
