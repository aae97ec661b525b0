"""What cleaning left out of a corpus, told and written down."""

import json
from typing import Any

from ptft.compute import is_main
from ptft.corpus.cleaning import summary
from ptft.steps.step import Place
from ptft.training.aside import write_text

_NAME = "cleaning.json"


def show_cleaning(cleaning: dict[str, Any], place: Place) -> None:
    """Say in one line what was left out, and write all of it to ``cleaning.json`` in the run folder.

    Args:
        cleaning: As :meth:`ptft.corpus.cleaning.Report.plain` gives it; nothing is done if it is empty.
        place: The run.
    """
    if cleaning and is_main():
        place.display.say(f"cleaning: {summary(cleaning)} ({_NAME})")
        write_text(place.folder / _NAME, json.dumps(cleaning, indent=1, ensure_ascii=False) + "\n")
