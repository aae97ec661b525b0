"""A look at data before anything is trained: documents of a corpus, rows of a task, prompts as a model sees them."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from pydantic import Field

from ptft.config import Loaded, Settings
from ptft.corpus.sources import CorpusSettings, describe, documents
from ptft.errors import RecipeError
from ptft.family import nearest
from ptft.steps.evaluation_texts import evaluation_texts
from ptft.tasks import PROMPT_TASKS, TASKS, Example

_MOST_SENTENCES = 20
_LONGEST_LINE = 400


class Head(Settings):
    """Show the first documents of a corpus, rows of a task, or prompts of a prompt task.

    A name of `ptft list tasks` or `ptft list prompts` in place of CORPUS shows that task.
    """

    corpus: CorpusSettings = CorpusSettings()
    n: int = Field(3, ge=1)
    """How many documents, rows of each part, or prompts."""
    k: int = Field(4, ge=0)
    """Solved examples before the question of a prompt."""
    seed: int = Field(0, ge=0)
    """Of what is held out, and of everything that is drawn."""


def head(loaded: Loaded[Head]) -> str:
    """Show the beginning of a corpus or task.

    Raises:
        DataError: The corpus cannot be found or read.
        RecipeError: A setting has no effect on what is shown, or the name is near that of a task.
    """
    settings, name = loaded.settings, loaded.settings.corpus.path
    if name in TASKS:
        _refuse(loaded, f"task {name!r}", [*_corpus_keys(loaded), "k"])
        return _task(settings)
    if name in PROMPT_TASKS:
        _refuse(loaded, f"prompt task {name!r}", _corpus_keys(loaded))
        return _prompts(settings)
    _refuse(loaded, f"corpus {name!r}", ("k",))
    _refuse_near_miss(name)
    return _corpus(settings)


def _corpus_keys(loaded: Loaded[Head]) -> list[str]:
    return [key for key in loaded.origin if key.startswith("corpus.") and key != "corpus.path"]


def _refuse(loaded: Loaded[Head], what: str, keys: Iterable[str]) -> None:
    for key in keys:
        if loaded.origin[key] != "default":
            raise RecipeError(f"{loaded.origin[key]}: {key}: has no effect on {what}; leave it out")


def _refuse_near_miss(name: str) -> None:
    known = [*TASKS, *PROMPT_TASKS]
    hint = nearest(name, known)
    if name.isidentifier() and name != "embedded" and not Path(name).exists() and "did you mean" in hint:
        raise RecipeError(
            f"{name!r}: no such file, folder or task{hint}; give the path of a corpus or the name of a task"
        )


def _corpus(settings: Head) -> str:
    parts = [describe(settings.corpus)]
    evaluation = evaluation_texts(settings.corpus, settings.seed)
    stream = documents(settings.corpus, "train", settings.seed, evaluation)
    for number, document in enumerate(islice(stream, settings.n), 1):
        lines = [_cut(sentence) for sentence in document[:_MOST_SENTENCES]]
        if len(document) > _MOST_SENTENCES:
            lines.append(f"... and {len(document) - _MOST_SENTENCES:,} more sentences")
        parts.append("\n".join([f"document {number}, {_counted(len(document), 'sentence')}", *_indented(lines)]))
    return "\n\n".join(parts)


def _task(settings: Head) -> str:
    task = TASKS[settings.corpus.path]()
    data = task.data(settings.seed)
    about = f"task {data.name}: {task.summary}\nlabels: {', '.join(data.labels)}; metric: {task.metric}"
    parts = {
        "train": data.train,
        "valid": data.valid,
        **{f"test set {name}": rows for name, rows in data.tests.items()},
    }
    shown = [
        "\n".join([f"{name}, {_counted(len(rows), 'row')}", *_indented(map(_row, rows[: settings.n]))])
        for name, rows in parts.items()
    ]
    return "\n\n".join([about, *shown])


def _row(example: Example) -> str:
    texts = " | ".join(text for text in (example.text, example.text_b) if text)
    return _cut(f"{example.label}: {texts}")


def _prompts(settings: Head) -> str:
    task = PROMPT_TASKS[settings.corpus.path]()
    items = task.items(settings.k, settings.seed)
    parts = [f"prompt task {task.name}: {task.summary}\n{_counted(len(items), 'question')}, {settings.k} shots each"]
    for number, item in enumerate(items[: settings.n], 1):
        choices = [f"{choice!r}{' (right)' if index == item.gold else ''}" for index, choice in enumerate(item.choices)]
        parts.append(
            "\n".join([f"prompt {number}", *_indented(item.context.splitlines()), f"choices: {', '.join(choices)}"])
        )
    return "\n\n".join(parts)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_LINE else f"{text[: _LONGEST_LINE - 3]}..."
