"""Files and tables that cannot be used, as a user names them: one sentence, exit code 2, nothing written."""

import subprocess
import sys

import pytest

PRETRAIN = "pretrain preset=bert-tiny out=new"
PAIRS = f"{PRETRAIN} objective=masked_lm,next_sentence"
TUNE = "finetune model=encoder length=32 out=new"
PROMPT = "prompt model=decoder k=0 out=new"
PREDICT = "predict model=classifier out=new.csv"
NOT_UTF8 = r": the text is not UTF-8 \(byte 0x.. at character \d+\); allowed: UTF-8; save the file as UTF-8"
BINARY = r":3: looks like a binary file \(it holds a NUL byte\); allowed: text in UTF-8"

CORPORA = [
    (f"{PRETRAIN} corpus.path=god.txt", r"there is no file 'god.txt'; did you mean 'good.txt'\?"),
    (f"{PRETRAIN} corpus.path=text/good.txt", r"no file 'text/good.txt'; there is no folder 'text' either"),
    (f"{PRETRAIN} corpus.path=empty.txt", r"empty.txt .*: the corpus holds no sentence; allowed: text; name another"),
    (f"{PRETRAIN} corpus.path=blank.txt", r"blank.txt .*: the corpus holds no sentence"),
    (f"{PRETRAIN} corpus.path=photo.txt", f"photo.txt{BINARY}"),
    (f"{PRETRAIN} corpus.path=korean.txt", f"korean.txt:3{NOT_UTF8}"),
    (f"{PRETRAIN} corpus.path=not_packed.txt.gz", r"not_packed.txt.gz: not a gzip file though its name ends in .gz"),
    (f"{PRETRAIN} corpus.path=cut_short.txt.gz", r"cut_short.txt.gz: the gzip file is damaged or cut short"),
    (f"{PRETRAIN} corpus.path=photos", r"photos: the folder holds no text file; allowed: .txt, .jsonl, .csv"),
    (f"{PRETRAIN} corpus.path=table.xlsx", r"table.xlsx: not a table that can be read; allowed: .csv, .tsv"),
    (f"{PRETRAIN} corpus.path=good.csv corpus.text=txt", r"good.csv: there is no column 'txt'; did you mean 'text'\?"),
    (f"{PRETRAIN} corpus.path=good.txt corpus.text=body", r"corpus.text is 'body' but has no effect on 'good.txt'"),
    (f"{PRETRAIN} corpus.path=embeded", r"'embeded' is neither a file .* did you mean 'embedded'\?"),
    (f"{PRETRAIN} corpus.path=embedded:list", r"unknown kind 'list'; did you mean 'lists'\? Known: lists, prose"),
    (
        f"{PAIRS} corpus.path=one_document.txt",
        r"next_sentence needs at least 2 documents.* the corpus has 1; put a blank",
    ),
    (
        f"{PAIRS} corpus.path=one_line_documents.txt",
        r"next_sentence needs documents of several sentences.* one line; put",
    ),
    (
        "pretrain preset=gpt2-tiny objective=causal_lm corpus.path=few_words.txt out=new",
        r"the corpus has 5 bytes, but a row of length 128 needs 129 tokens; give more text or a smaller length",
    ),
    (f"{PRETRAIN} corpus.path=good.txt valid=god.txt", r"there is no file 'god.txt'; did you mean 'good.txt'\?"),
    (f"{PRETRAIN} corpus.path=good.txt valid=empty.txt", r"empty.txt .*: the corpus holds no sentence"),
    ("tokenizer corpus.path=empty.txt out=new", r"empty.txt .*: the corpus holds no sentence"),
    ("tokenizer corpus.path=photo.txt out=new", f"photo.txt{BINARY}"),
    ("tokenizer corpus.path=korean.txt out=new", f"korean.txt:3{NOT_UTF8}"),
    ("eval model=encoder corpus.path=god.txt", r"there is no file 'god.txt'; did you mean 'good.txt'\?"),
    ("eval model=encoder corpus.path=empty.txt", r"empty.txt .*: the corpus holds no sentence"),
    ("eval model=encoder corpus.path=korean.txt", f"korean.txt:3{NOT_UTF8}"),
    ("eval model=decoder corpus.path=few_words.txt", r"the corpus has \d+ tokens, but a row of length 64 needs 65"),
    ("check pretrain preset=bert-tiny corpus.path=empty.txt out=new", r"empty.txt .*: the corpus holds no sentence"),
    ("check pretrain preset=bert-tiny corpus.path=korean.txt out=new", f"korean.txt:3{NOT_UTF8}"),
    ("check eval model=encoder corpus.path=empty.txt", r"empty.txt .*: the corpus holds no sentence"),
]

TABLES = [
    (f"{TUNE} data=god.csv", r"there is no file 'god.csv'; did you mean 'good.csv'\?"),
    (f"{TUNE} data=other_column.csv", r"no column 'text'; known: review, sentiment; name .* with text=COLUMN"),
    (f"{TUNE} data=other_column.csv text=review", r"no column 'label'; known: review, sentiment; .* with label=COLUMN"),
    (f"{TUNE} data=good.csv text=txt", r"good.csv: there is no column 'txt'; did you mean 'text'\?"),
    (f"{TUNE} data=good.csv label=labl", r"good.csv: there is no column 'labl'; did you mean 'label'\?"),
    (f"{TUNE} data=good.csv label=text", r"label is 'text', which is a column of text too"),
    (f"{TUNE} data=single_class.csv", r"single_class.csv: column 'label' holds a single label, 'pos'; allowed: two or"),
    (f"{TUNE} data=good.csv test=unseen.csv", r"unseen.csv:3: label 'posi' does not occur .* did you mean 'pos'\?"),
    (f"{TUNE} data=empty_texts.csv", r"empty_texts.csv: no row has both a text and a label; fill some in"),
    (f"{TUNE} data=no_labels.csv", r"no_labels.csv: no row has both a text and a label; fill some in"),
    (f"{TUNE} data=nan_labels.csv", r"nan_labels.csv:2: column 'label' holds 'nan', which stands for no label"),
    (f"{TUNE} data=some_nan_labels.csv", r"some_nan_labels.csv:4: column 'label' holds 'NaN', which stands for no lab"),
    (f"{TUNE} data=ragged.csv", r"ragged.csv:3: the row has 3 cells where the header has 2 \(text, label\)"),
    (f"{TUNE} data=open_quote.csv", r"open_quote.csv:2: the quotes of a cell do not fit"),
    (
        f"{TUNE} data=scores.csv",
        r"scores.csv:\d+: column 'label' holds \d.\d+, which is no class; allowed: text or whole",
    ),
    (
        f"{TUNE} data=identifiers.csv",
        r"column 'label' has 36 different values in 36 rows and does not look like a label",
    ),
    (f"{TUNE} data=header_only.csv", r"header_only.csv: the table has columns \(text, label\) and no rows"),
    (f"{TUNE} data=empty.csv", r"empty.csv: the file is empty; allowed: a header"),
    (f"{TUNE} data=garbage.csv", f"garbage.csv:2{NOT_UTF8}"),
    (f"{TUNE} data=photo.csv", f"photo.csv{BINARY}"),
    (f"{TUNE} data=korean.csv", f"korean.csv:3{NOT_UTF8}"),
    (f"{TUNE} data=broken.jsonl", r"broken.jsonl:2: not JSON \(.*\); allowed: one object a line"),
    (f"{TUNE} data=table.xlsx", r"table.xlsx: not a table that can be read; allowed: .csv, .tsv"),
    (f"{TUNE} data=good.txt", r"good.txt: not a table that can be read; allowed: .csv, .tsv"),
    (f"{TUNE} data=photos", r"photos: the folder holds no table named train; allowed: train, valid and test"),
    (f"{TUNE} data=two_rows.csv", r"2 rows, one of each label, are too few to hold some out .* or give test=FILE"),
    (f"{TUNE} data=pairs.csv text_a=text_a", r"text_a is 'text_a' without text_b; allowed: both"),
    (f"{TUNE} data=pairs.csv text=text_a text_a=text_a", r"text is 'text_a' and text_a is 'text_a'; allowed: one of"),
    (f"{TUNE} data=polarty", r"'polarty' is neither a file .* nor is it a task; did you mean 'polarity'\?"),
    (f"{TUNE} data=polarity text=text", r"text is 'text' but has no effect: task 'polarity' has rows of its own"),
    (f"{TUNE} data=good.csv labels=100", r"100 labelled rows are wanted of good; allowed: 1 to 22"),
    ("curve model=encoder data=good.csv labels=1000 length=32 out=new", r"1000 labelled rows are wanted .* 1 to 22"),
    ("curve model=encoder data=single_class.csv length=32 out=new", r"column 'label' holds a single label, 'pos'"),
    ("check finetune model=encoder data=single_class.csv length=32 out=new", r"holds a single label, 'pos'"),
    (f"{PROMPT} data=polarty", r"nor is it a task; did you mean 'polarity'\?"),
    (f"{PROMPT} data=single_class.csv", r"single_class.csv: column 'label' holds a single label, 'pos'"),
    (f"{PROMPT} data=unseen.csv shots=good.csv", r"unseen.csv:3: label 'posi' does not occur in the training rows"),
    (f"{PROMPT} data=polarity shots=good.csv", r"shots: the task 'polarity' brings its own examples; leave shots out"),
    ("prompt model=decoder data=good.csv k=0,100 out=new", r"100 shots are asked for but there are only \d+ distinct"),
    ("prompt model=decoder data=good.csv shots=two_rows.csv k=4 out=new", r"4 shots are asked for .* only 2 distinct"),
    (f"{PREDICT} data=god.csv", r"there is no file 'god.csv'; did you mean 'good.csv'\?"),
    (f"{PREDICT} data=other_column.csv", r"no column 'text'; known: review, sentiment; name .* with text=COLUMN"),
    (f"{PREDICT} data=empty.txt", r"empty.txt: holds no text; allowed: at least one row with text"),
    (f"{PREDICT} data=empty_texts.csv", r"empty_texts.csv: holds no text"),
    (f"{PREDICT} data=korean.txt", f"korean.txt:3{NOT_UTF8}"),
    (f"{PREDICT} data=photo.csv", f"photo.csv{BINARY}"),
    (f"{PREDICT} data=ragged.csv", r"ragged.csv:3: the row has 3 cells where the header has 2"),
]


@pytest.mark.parametrize(("line", "sentence"), CORPORA)
def test_corpus_that_cannot_be_used(refused, line, sentence):
    refused(line, sentence)


@pytest.mark.parametrize(("line", "sentence"), TABLES)
def test_table_that_cannot_be_used(refused, line, sentence):
    refused(line, sentence)


@pytest.mark.parametrize("model", ["preset=bert-tiny", "model=encoder length=32"])
@pytest.mark.parametrize("out", ["new", "some/new/folder", "nothing"])
def test_byte_far_behind_the_beginning_is_found_before_training(refused, monkeypatch, model, out):
    monkeypatch.setattr("ptft.corpus.sources._LOOKED_AT_BYTES", 100)
    refused(f"pretrain {model} corpus.path=broken_far_behind.txt out={out}", f"behind.txt:101{NOT_UTF8}", late=True)


def test_step_of_a_recipe_is_named(refused, monkeypatch):
    monkeypatch.setattr("ptft.corpus.sources._LOOKED_AT_BYTES", 100)
    refused("run broken.yaml jobs=1", f"steps.a: broken_far_behind.txt:101{NOT_UTF8}", late=True)
    refused("run steps.yaml", r"steps.a: there is no file 'god.txt'; did you mean 'good.txt'\?")


def test_document_without_room_for_a_question(refused):
    refused(
        f"{PROMPT} data=long.csv", r"'long' do not fit into the model's 64 positions .*; use shorter texts", late=True
    )


def test_what_was_trained_before_the_mistake_is_kept(typed, desk, monkeypatch, tmp_path):
    from ptft.errors import DataError

    def fit(*_args, folder, **_settings):
        (folder / "metrics.jsonl").write_text('{"step": 1}\n')
        raise DataError("the file changed")

    monkeypatch.setattr("ptft.steps.pretrain.fit", fit)
    out = tmp_path / "begun"
    assert typed(f"pretrain preset=bert-tiny corpus.path=good.txt out={out}")[:2] == (2, "ptft: the file changed\n")
    assert (out / "metrics.jsonl").exists()


def test_process_ends_with_code_2_and_one_sentence(desk):
    line = f"{PRETRAIN} corpus.path=god.txt"
    done = subprocess.run([sys.executable, "-m", "ptft", *line.split()], cwd=desk, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "ptft: there is no file 'god.txt'; did you mean 'good.txt'?\n"
