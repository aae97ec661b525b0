import pytest

from ptft.corpus.sources import CorpusSettings
from ptft.errors import DataError, UserError
from ptft.steps.evaluation_texts import evaluation_texts
from ptft.tasks import PROMPT_TASKS, TASKS


def read(*names):
    return evaluation_texts(CorpusSettings(decontaminate=names), 0)


def test_a_text_file_gives_its_lines(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("One.\n\nTwo.\n")
    assert read(str(path)) == {str(path): [(f"{path}:1", "One."), (f"{path}:3", "Two.")]}


def test_a_table_gives_its_text_columns_or_all(tmp_path):
    (tmp_path / "a.csv").write_text("text,label,text_b\nOne.,yes,Two.\nThree.,no,\n")
    (tmp_path / "b.csv").write_text("premise,label\nOne.,yes\n")
    texts = read(str(tmp_path / "a.csv"), str(tmp_path / "b.csv"))
    assert [[text for _, text in of_task] for of_task in texts.values()] == [
        ["One.", "Two.", "Three."],
        ["One.", "yes"],
    ]
    assert texts[str(tmp_path / "a.csv")][2][0] == f"{tmp_path / 'a.csv'}:3"


def test_lists_are_one_text_each(tmp_path):
    (tmp_path / "a.conll").write_text("Ann B-PER\nleft O\n\nNo O\n")
    (tmp_path / "b.jsonl").write_text('{"question": "Why?", "choices": ["So.", "No."], "label": 0}\n')
    texts = read(str(tmp_path / "a.conll"), str(tmp_path / "b.jsonl"))
    assert [[text for _, text in of_task] for of_task in texts.values()] == [["Ann left", "No"], ["Why?", "So. No."]]


def test_a_folder_gives_its_test_part(tmp_path):
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.csv").write_text(f"text,label\nFrom {split}.,yes\n")
    assert [text for _, text in read(str(tmp_path))[str(tmp_path)]] == ["From test."]
    (tmp_path / "test.csv").unlink()
    assert [text for _, text in read(str(tmp_path))[str(tmp_path)]] == ["From dev."]


def test_a_task_gives_its_test_rows_and_a_prompt_task_its_questions():
    prompts = next(iter(PROMPT_TASKS))
    texts = read("polarity", prompts)
    tests = TASKS["polarity"]().data(0).tests
    assert len(texts["polarity"]) == sum(map(len, tests.values()))
    assert texts["polarity"][0][1] in {row.text for rows in tests.values() for row in rows}
    assert texts[prompts][0] == ("question 1", PROMPT_TASKS[prompts]().items(0, 0)[0].context)


def test_what_cannot_be_read(tmp_path):
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(DataError, match=r"corpus\.decontaminate: '.*empty\.txt' holds no text; allowed: at least one"):
        read(str(tmp_path / "empty.txt"))
    with pytest.raises(UserError, match=r"there is no file '.*emty\.txt'; did you mean '.*empty\.txt'"):
        read(str(tmp_path / "emty.txt"))
