"""The verbs ``predict``, ``eval`` and ``generate`` from end to end."""

import csv
import re

import pytest

from ptft.actions import ACTIONS
from ptft.config import load
from ptft.display import Silent
from ptft.errors import CheckpointError, DataError, RecipeError, UserError


def act(name, **settings):
    return load(ACTIONS[name], base=settings, base_origin="the test").settings.do(Silent())


def figures_of(text):
    return {name: float(value) for name, value in (line.split() for line in text.splitlines())}


# predict


@pytest.fixture(scope="module")
def classifier(tmp_path_factory, step, bert_run, gpt2_run, table):
    """The run folder of a classifier that has learned its task, by pooling."""
    done = {}

    def find(kind, pooling):
        if (kind, pooling) not in done:
            done[kind, pooling] = folder = tmp_path_factory.mktemp("classifier") / "run"
            model = {"bert": bert_run, "gpt2": gpt2_run}[kind]
            settings = {"data": str(table), "length": 32, "budget": "60steps", "lr": 0.01, "pooling": pooling}
            step("finetune", model=str(model), out=str(folder), rows_per_step=16, **settings)
        return done[kind, pooling]

    return find


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("kind", "pooling"), [("bert", "mean"), ("bert", "cls"), ("gpt2", "last"), ("gpt2", "mean")])
def test_every_row_gets_a_label_and_probabilities(kind, pooling, classifier, tmp_path):
    """Odd texts and empty ones too, in the order of the file."""
    texts = ["snow, and ice", "", 'the "sun"\nwas hot', "눈이 와요 ❄️", "blue lake"]
    with (tmp_path / "new.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerows([["number", "text"], *enumerate(texts)])
    out = tmp_path / "out.csv"
    said = act("predict", model=str(classifier(kind, pooling)), data=str(tmp_path / "new.csv"), out=str(out))
    assert said == f"5 texts -> {out}"
    rows = read(out)
    assert [row["text"] for row in rows] == texts
    for row in rows:
        shares = {label: float(row[f"probability.{label}"]) for label in ("cold", "warm")}
        assert sum(shares.values()) == pytest.approx(1, abs=2e-6)
        assert shares[row["label"]] == max(shares.values())


@pytest.mark.parametrize(("kind", "pooling"), [("bert", "mean"), ("bert", "cls"), ("gpt2", "last")])
def test_predictions_are_what_was_learned(kind, pooling, classifier, table, tmp_path):
    act("predict", model=str(classifier(kind, pooling)), data=str(table), out=str(tmp_path / "out.csv"))
    gold, predicted = ([row["label"] for row in read(path)] for path in (table, tmp_path / "out.csv"))
    assert sum(a == b for a, b in zip(gold, predicted, strict=True)) / len(gold) > 0.85


@pytest.mark.parametrize(("kind", "pooling"), [("gpt2", "last"), ("gpt2", "mean"), ("gpt2", "max")])
def test_decoder_labels_empty_texts_alone(kind, pooling, classifier, tmp_path):
    """Its tokenizer adds no special tokens, so that such a text has no token at all."""
    (tmp_path / "new.csv").write_text("text,n\n" + ",1\n" * 64 + "sun,2\n")
    act("predict", model=str(classifier(kind, pooling)), data=str(tmp_path / "new.csv"), out=str(tmp_path / "out.csv"))
    shares = {row["probability.cold"] for row in read(tmp_path / "out.csv")[:64]}
    assert len(shares) == 1
    assert 0 < float(shares.pop()) < 1


def test_lines_of_a_text_file(classifier, tmp_path):
    (tmp_path / "new.txt").write_text("red sun\nblue ice\n")
    act("predict", model=str(classifier("bert", "mean")), data=str(tmp_path / "new.txt"), out=str(tmp_path / "out.csv"))
    assert [row["label"] for row in read(tmp_path / "out.csv")] == ["warm", "cold"]


@pytest.fixture(scope="module")
def pair_classifier(tmp_path_factory, step, bert_run, labelled_texts):
    """The run folder of a stock classifier of pairs."""
    folder = tmp_path_factory.mktemp("pairs")
    lines = (f"{text},it is {label},{label}\n" for text, label in labelled_texts)
    (folder / "pairs.csv").write_text("text_a,text_b,label\n" + "".join(lines))
    settings = {"data": str(folder / "pairs.csv"), "pooling": "cls", "length": 24, "budget": "2steps", "min_steps": 0}
    step("finetune", model=str(bert_run), out=str(folder / "run"), **settings)
    return folder / "run"


def test_pairs_of_texts(pair_classifier, tmp_path):
    (tmp_path / "new.csv").write_text("a,b\nred sun,hot\nice,snow\n")
    settings = {"data": str(tmp_path / "new.csv"), "text_a": "a", "text_b": "b", "out": str(tmp_path / "out.csv")}
    act("predict", model=str(pair_classifier), **settings)
    rows = read(tmp_path / "out.csv")
    assert [(row["text_a"], row["text_b"]) for row in rows] == [("red sun", "hot"), ("ice", "snow")]


NEEDS_PAIRS = "the model was fine-tuned on pairs of texts, and single ones are given; name the columns of both"
NEEDS_TEXTS = "the model was fine-tuned on single texts, and pairs are given; name one column"


@pytest.mark.parametrize(
    ("verb", "kind", "given", "message"),
    [
        ("predict", "pairs", {"text": "a"}, rf"new\.csv: {NEEDS_PAIRS}"),
        ("predict", "pairs", {"data": "{tmp}/new.txt"}, rf"new\.txt: {NEEDS_PAIRS}"),
        ("predict", "texts", {"text_a": "a", "text_b": "b"}, rf"new\.csv: {NEEDS_TEXTS}"),
        ("eval", "pairs", {"text": "a"}, rf"new\.csv: {NEEDS_PAIRS}"),
        ("eval", "pairs", {"data": "polarity"}, f"polarity: {NEEDS_PAIRS}"),
        ("eval", "texts", {"text_a": "a", "text_b": "b"}, rf"new\.csv: {NEEDS_TEXTS}"),
    ],
)
def test_pairs_are_no_texts(verb, kind, given, message, classifier, pair_classifier, tmp_path):
    (tmp_path / "new.csv").write_text("a,b,label\nred sun,hot,warm\nice,snow,cold\n")
    (tmp_path / "new.txt").write_text("red sun\n")
    model = pair_classifier if kind == "pairs" else classifier("bert", "mean")
    settings = {"data": "{tmp}/new.csv", **given, "model": str(model), "out": "{tmp}/out"}
    with pytest.raises(DataError, match=message):
        act(verb, **{name: value.format(tmp=tmp_path) for name, value in settings.items()})


def test_texts_are_cut_as_when_the_model_was_fine_tuned(classifier, pair_classifier, tmp_path):
    (tmp_path / "new.csv").write_text(f"text,text_a,text_b\n{'red ' * 60},{'red ' * 60},blue\n")
    for model, length in ((classifier("bert", "mean"), 32), (pair_classifier, 24)):
        columns = {"text_a": "text_a", "text_b": "text_b"} if length == 24 else {}
        settings = {"model": str(model), "data": str(tmp_path / "new.csv"), **columns}
        assert f"1 were cut to {length} tokens" in act("predict", **settings, out=str(tmp_path / f"{length}.csv"))
        assert "1 were cut to 48 tokens" in act("predict", **settings, length=48, out=str(tmp_path / f"{length}b.csv"))
    with pytest.raises(RecipeError, match=r"length: 65 tokens are more than the model's 64 positions"):
        act("predict", **settings, length=65, out=str(tmp_path / "out.csv"))


def test_predict_overwrites_nothing(classifier, table, tmp_path):
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(RecipeError, match=r"out: '.*out\.csv' exists already; name another file"):
        act("predict", model=str(classifier("bert", "mean")), data=str(table), out=str(tmp_path / "out.csv"))
    assert (tmp_path / "out.csv").read_text() == "mine"


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"out": "{tmp}/no/out.csv"}, RecipeError, r"out: the folder '.*no' does not exist; make it first"),
        ({"data": "{tmp}/nowhere.csv"}, DataError, r"nowhere\.csv"),
        ({"text": "review"}, DataError, r"'review'.*text=COLUMN"),
        ({"model": "{bert}"}, CheckpointError, r"is no classifier; fine-tune it first"),
    ],
)
def test_mistakes_in_predicting_write_nothing(settings, kind, message, classifier, bert_run, table, tmp_path):
    settings = {name: value.format(tmp=tmp_path, bert=bert_run) for name, value in settings.items()}
    values = {"model": str(classifier("bert", "mean")), "data": str(table), "out": str(tmp_path / "out.csv")}
    with pytest.raises(kind, match=message):
        act("predict", **{**values, **settings})
    assert not (tmp_path / "out.csv").exists()


# eval


@pytest.mark.parametrize(
    ("kind", "names"),
    [("bert", {"mlm.loss", "mlm.perplexity", "mlm.accuracy", "nsp.accuracy"}), ("gpt2", {"clm.loss", "clm.accuracy"})],
)
def test_eval_measures_what_the_model_was_pretrained_with(kind, names, run_of, corpus_file, store_cache):
    settings = {"model": str(run_of(kind)), "corpus": {"path": str(corpus_file)}, "length": 32, "rows": 64}
    text = act("eval", **settings, precision="fp32", cache=store_cache)
    assert names <= figures_of(text).keys()
    assert act("eval", **settings, precision="fp32", cache=store_cache) == text


def test_eval_of_one_objective(bert_run, corpus_file, store_cache):
    settings = {"corpus": {"path": str(corpus_file)}, "length": 32, "rows": 64, "objective": "masked_lm"}
    figures = figures_of(act("eval", model=str(bert_run), cache=store_cache, **settings))
    assert not [name for name in figures if name.startswith("nsp")]


def test_eval_takes_the_embedded_corpus_by_default(gpt2_run, store_cache):
    figures = figures_of(act("eval", model=str(gpt2_run), length=32, rows=8, cache=store_cache))
    assert figures["clm.perplexity"] > 1


def test_eval_of_a_missing_text(bert_run, tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.txt"):
        act("eval", model=str(bert_run), corpus={"path": str(tmp_path / "nowhere.txt")})


# generate


def test_generate_is_greedy_by_default(gpt2_run):
    first, second = (act("generate", model=str(gpt2_run), text="the red", max_new_tokens=5) for _ in range(2))
    assert first.startswith("the red")
    assert len(first) > len("the red")
    assert first == second


def test_sampling_depends_on_the_seed_alone(gpt2_run):
    def sample(seed):
        return act("generate", model=str(gpt2_run), text="sun", temperature=1.0, max_new_tokens=12, seed=seed)

    assert sample(1) == sample(1)
    assert len({sample(seed) for seed in range(4)}) > 1


def test_generate_from_nothing(llama_run):
    assert isinstance(act("generate", model=str(llama_run), max_new_tokens=3), str)


def test_encoder_does_not_generate(bert_run):
    with pytest.raises(UserError, match=r"decoder|causal"):
        act("generate", model=str(bert_run), text="the red")


# compare


def test_tokenizers_are_compared_by_script(bert_run, gpt2_run, corpus_file):
    text = act("compare", tokenizers=[str(bert_run), str(gpt2_run)], corpus={"path": str(corpus_file)})
    title, *rows = [re.split(r"  +", line) for line in text.splitlines()]
    assert title[:5] == ["script", "tokenizer", "words", "bytes a token", "tokens a word"]
    runs = [str(bert_run), str(gpt2_run)]
    assert [row[:2] for row in rows] == [[script, run] for script in ("all", "Latin") for run in runs]
    assert all(float(row[4]) >= 1 for row in rows)


def test_comparing_nothing_is_refused():
    with pytest.raises(RecipeError, match=r"^tokenizers: name at least one"):
        act("compare", tokenizers=[])
