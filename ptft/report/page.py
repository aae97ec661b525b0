"""Write the page of a run, report.html: its figures, pictures, lineage and recipe in one self-contained file."""

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptft.report import plots
from ptft.report.curves import field, label_rows, measured, shot_rows
from ptft.report.folder import RunFolder, lineage_rows, read_runs
from ptft.report.scripts import script_rows
from ptft.report.speed import speed_rows
from ptft.report.tables import final_table, is_number
from ptft.training.aside import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CSS = """
:root { color-scheme: light dark; --line: #d0d0d0; --soft: #f4f4f4; --pale: #5a5a5a; }
@media (prefers-color-scheme: dark) { :root { --line: #4a4a4a; --soft: #262626; --pale: #b0b0b0; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 940px; margin: 0 auto; padding: 1.5rem 20px 4rem; }
h1 { font-size: 1.6rem; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .5rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
figure { margin: .8rem 0 0; }
/* The pictures are drawn on white, so a dark page gives them a white card. */
img { width: 100%; max-width: 900px; background: white; border-radius: 6px; }
figcaption, .pale { color: var(--pale); font-size: .92rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .4rem 0 1rem; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .9rem .25rem 0; text-align: left; vertical-align: top; }
td { font-variant-numeric: tabular-nums; }
.figures td:nth-child(-n + 2) { white-space: nowrap; }
.lineage td { overflow-wrap: anywhere; min-width: 12rem; }
pre { background: var(--soft); padding: .8rem; border-radius: 6px; white-space: pre-wrap; overflow-wrap: anywhere; }
code, pre { font: .9em/1.45 ui-monospace, monospace; }
@media print {
  body { max-width: none; padding: 0; font-size: 11pt; }
  .wide { overflow: visible; }
  figure, tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
}
""".strip()

_HOW_TO_READ_LOSS = (
    "Lower is better. The thin line is each logged step, the thick one its running mean, and the points are held-out "
    "text: where they rise while the line still falls, the model learns its training text by heart."
)
_HOW_TO_READ_LABELS = (
    "Each point is the mean over the seeds, its bar the 95 % interval: over the seeds where there are three or more, "
    "but never narrower than that of a single result. Lines are moved a little sideways so that no bar hides another."
)
_HOW_TO_READ_GAIN = "Where pretrained lies above scratch, the gap is what pretraining bought for the same labels."
_HOW_TO_READ_HELD_OUT = (
    "The words that decide test set H occur in no labelled training row: scratch is at chance there by construction, "
    "so look at test set L beside it."
)
_HOW_TO_READ_SHOTS = (
    "Each point is the mean over the seeds with its 95 % interval; k counts the examples shown in the prompt, and no "
    "weight is changed: a line that rises with k learns from its prompt."
)
_HOW_TO_READ_ZERO_SHOT = (
    "With arbitrary labels, zero-shot (k = 0) is chance by construction: nothing has told the model what they mean."
)
_HOW_TO_READ_EMERGENCE = (
    "Each point is the model as it was after so many tokens, asked with k examples in its prompt, on average over the "
    "seeds, with its 95 % interval: lines part where it begins to learn from them."
)

_HOW_TO_READ_SPEED = (
    "Tokens are real ones. Mfu is the share of what the device could do at best that the model's own arithmetic "
    "takes, padding's included; the vocabulary head is a share of that arithmetic."
)

_Record = Mapping[str, Any]


def write_report(run: Path) -> Path:
    """Write ``report.html`` into a run folder, and its pictures beside it as PNG; the one over labels as SVG too.

    A run of several steps gets one page: that of its own files and of each sub-folder that holds a ``result.json``.
    Only what is there is shown, and the same files give the same page.

    Args:
        run: The run folder.

    Returns:
        The page.

    Raises:
        CheckpointError: The folder holds no run, or a file in it cannot be read.
    """
    runs = read_runs(run)
    parts = (_about, _figures, _scripts, _loss, _emergence, _labels, _shots, _speed, _lineage, _recipes)
    sections = [part(runs) for part in parts]
    page = run / "report.html"
    write_text(page, _document(runs[0].name, "\n".join(section for section in sections if section)))
    return page


def collect(runs: Sequence[RunFolder], x: str) -> list[_Record]:
    """The records of all folders that measure something over ``x``, each once.

    Where steps measured the same thing, such as two models on one task, each step's name is put before its methods:
    otherwise the picture would show the mean of two models.
    """
    seen: set[str] = set()
    places: dict[tuple[str, ...], str] = {}
    found: list[tuple[str, _Record]] = []
    is_mixed = False
    for folder in runs:
        for record in measured(folder.records, x):
            text = json.dumps(record, sort_keys=True)
            # A run of several steps may repeat its steps' records.
            if text in seen:
                continue
            seen.add(text)
            found.append((folder.name, record))
            place = tuple(field(record, key) for key in ("task", "test", x, "seed", "template", "method"))
            is_mixed |= places.setdefault(place, folder.name) != folder.name
    if not is_mixed:
        return [record for _, record in found]
    return [
        {**record, "method": f"{name}: {record['method']}" if record.get("method") else name} for name, record in found
    ]


def _document(title: str, body: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_CSS}\n</style>\n</head>\n"
        f"<body>\n<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def _about(runs: Sequence[RunFolder]) -> str:
    main, steps = runs[0], runs[1:]
    sentences = [f"What the run folder {_code(main.name)} holds; ptft made this page from its files alone."]
    if steps:
        sentences.append(f"Steps with a result: {', '.join(_code(step.name) for step in steps)}.")
    if not steps and not main.figures and not main.records:
        sentences.append("There is no result yet: the run has not finished.")
    for folder in runs:
        if folder.num_unreadable_lines:
            sentences.append(
                f"Lines of {_code(folder.name + '/metrics.jsonl')} that cannot be read and are left out: "
                f"{folder.num_unreadable_lines} (a run killed while writing leaves one)."
            )
    return "<p>" + " ".join(sentences) + "</p>"


def _figures(runs: Sequence[RunFolder]) -> str:
    parts = []
    for folder in runs:
        rows = [[_code(name), escape(value), escape(text)] for name, value, text in final_table(folder.figures)]
        if rows:
            parts += [_heading(folder, runs), _table(["figure", "value", "what it means"], rows, "figures")]
    return "\n".join(["<h2>Figures</h2>", *parts]) if parts else ""


def _scripts(runs: Sequence[RunFolder]) -> str:
    parts = []
    for folder in runs:
        if rows := script_rows(folder.records):
            parts += [_heading(folder, runs), _text_table(rows)]
    return "\n".join(["<h2>Words by script</h2>", *parts]) if parts else ""


def _loss(runs: Sequence[RunFolder]) -> str:
    logs = {folder.name: folder.metrics for folder in runs if any(_has_loss(line) for line in folder.metrics)}
    if not logs:
        return ""
    return "<h2>Loss</h2>\n" + _picture(runs[0].path / "loss.png", plots.loss_curve(logs), [_HOW_TO_READ_LOSS])


def _emergence(runs: Sequence[RunFolder]) -> str:
    groups: dict[str, list[RunFolder]] = {}
    for folder in runs:
        if any(key.startswith("prompt.") for line in folder.metrics for key in line):
            groups.setdefault(_but_for_the_seed(folder.recipe), []).append(folder)
    if not groups:
        return ""
    logs = {", ".join(folder.name for folder in own): [folder.metrics for folder in own] for own in groups.values()}
    picture = _picture(runs[0].path / "emergence.png", plots.emergence(logs), [_HOW_TO_READ_EMERGENCE])
    return f"<h2>Learning from the prompt, as it comes</h2>\n{picture}"


def _but_for_the_seed(recipe: str) -> str:
    """A recipe without what runs of several seeds differ in."""
    return "\n".join(line for line in recipe.splitlines() if not line.startswith(("seed:", "out:")))


def _has_loss(line: _Record) -> bool:
    is_placed = is_number(line.get("tokens", line.get("step")))
    return is_placed and any(is_number(line[key]) for key in line if key == "loss" or key.endswith(".loss"))


def _labels(runs: Sequence[RunFolder]) -> str:
    records = collect(runs, "labels")
    if not records:
        return ""
    has_scratch = any(field(record, "method").endswith("scratch") for record in records)
    is_held_out = {"L", "H"} <= {field(record, "test") for record in records}
    captions = [_HOW_TO_READ_LABELS, *[_HOW_TO_READ_GAIN] * has_scratch]
    captions += [_HOW_TO_READ_HELD_OUT] * (has_scratch and is_held_out)
    majority = {name: value for folder in reversed(runs) for name, value in folder.figures.items()}
    figure = plots.label_efficiency(records, majority=majority)
    plots.save(figure, runs[0].path / "label_efficiency.svg")
    picture = _picture(runs[0].path / "label_efficiency.png", figure, captions)
    return f"<h2>Label efficiency</h2>\n{picture}\n{_text_table(label_rows(records))}"


def _shots(runs: Sequence[RunFolder]) -> str:
    records = collect(runs, "k")
    if not records:
        return ""
    captions = [_HOW_TO_READ_SHOTS, *[_HOW_TO_READ_ZERO_SHOT] * any(record["k"] == 0 for record in records)]
    picture = _picture(runs[0].path / "shots.png", plots.shot_curve(records), captions)
    return f"<h2>Shots</h2>\n{picture}\n{_text_table(shot_rows(records))}"


def _speed(runs: Sequence[RunFolder]) -> str:
    rows = speed_rows(runs)
    return f'<h2>Speed</h2>\n<p class="pale">{escape(_HOW_TO_READ_SPEED)}</p>\n{_text_table(rows)}' if rows else ""


def _lineage(runs: Sequence[RunFolder]) -> str:
    parts = []
    for folder in runs:
        rows = [[_code(name), escape(text)] for name, text in lineage_rows(folder.manifest)]
        if rows:
            parts += [_heading(folder, runs), _table(["", "what the result was made of"], rows, "lineage")]
    return "\n".join(["<h2>Lineage</h2>", *parts]) if parts else ""


def _recipes(runs: Sequence[RunFolder]) -> str:
    parts = [_heading(folder, runs) + f"<pre>{escape(folder.recipe)}</pre>" for folder in runs if folder.recipe.strip()]
    return "\n".join(["<h2>Recipe</h2>", *parts]) if parts else ""


def _heading(folder: RunFolder, runs: Sequence[RunFolder]) -> str:
    return f"<h3>{escape(folder.name)}</h3>\n" if len(runs) > 1 else ""


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "records") -> str:
    """A table; titles are text, cells are HTML."""
    head = "".join(f"<th>{escape(text)}</th>" for text in titles)
    body = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide {kind}"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def _text_table(table: Sequence[Sequence[str]]) -> str:
    return _table(table[0], [[escape(cell) for cell in row] for row in table[1:]])


def _picture(path: Path, figure: "Figure", captions: Sequence[str]) -> str:
    plots.save(figure, path)
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    return (
        f'<figure><img src="data:image/png;base64,{content}" alt="{escape(path.stem.replace("_", " "))}">\n'
        f"<figcaption>{escape(' '.join(captions))}</figcaption></figure>"
    )
