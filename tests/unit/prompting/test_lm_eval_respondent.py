"""A checkpoint as lm_eval asks it, and the verb's sentences; none of it needs lm_eval."""

import sys
from importlib.metadata import PackageNotFoundError
from types import ModuleType, SimpleNamespace

import pytest
import torch

from ptft.cli import command
from ptft.errors import CheckpointError, DataError, RecipeError
from ptft.prompting.lm_eval import adapter
from ptft.prompting.lm_eval.respondent import Respondent

LONG = " ".join(["the sun is warm"] * 60)


def ask(folder, **arguments):
    return Respondent({"pretrained": str(folder), "device": "cpu", **arguments})


@pytest.fixture(scope="module")
def respondent(gpt2_run):
    return ask(gpt2_run)


def scored(respondent, context_ids, continuation_ids):
    """The sum of log-probabilities, one forward, one row."""
    ids = torch.tensor([[*context_ids, *continuation_ids][:-1]])
    with torch.no_grad():
        logs = respondent.model(input_ids=ids).logits[0].log_softmax(-1)
    at = range(len(context_ids) - 1, len(context_ids) + len(continuation_ids) - 1)
    return sum(float(logs[place, token]) for place, token in zip(at, continuation_ids, strict=True))


def test_a_continuation_is_scored_behind_its_context(respondent):
    encode = respondent.tokenizer.encode
    ((value, is_greedy), (bare, _)) = respondent.loglikelihoods([("the sun is ", "warm"), ("", " warm")])
    assert value == pytest.approx(scored(respondent, encode("the sun is"), encode(" warm")), abs=1e-4)
    assert bare == pytest.approx(scored(respondent, [respondent.tokenizer.bos_token_id], encode(" warm")), abs=1e-4)
    assert isinstance(is_greedy, bool)


def test_a_long_context_is_cut_on_the_left(respondent):
    encode = respondent.tokenizer.encode
    ids, answer = encode(LONG), encode(" cold")
    kept = ids[-(respondent.max_length + 1 - len(answer)) :]
    assert respondent.max_length == 64 < len(ids), "the premise"
    ((value, _),) = respondent.loglikelihoods([(LONG, " cold")])
    assert value == pytest.approx(scored(respondent, kept, answer), abs=1e-4)


def test_a_shorter_input_can_be_asked_for(gpt2_run, respondent):
    short = ask(gpt2_run, max_length=8)
    ids, answer = short.tokenizer.encode(LONG), short.tokenizer.encode(" cold")
    ((value, _),) = short.loglikelihoods([(LONG, " cold")])
    assert value == pytest.approx(scored(respondent, ids[-(9 - len(answer)) :], answer), abs=1e-4)


def test_a_whole_text_is_the_sum_of_its_windows(respondent):
    ids = respondent.tokenizer.encode(LONG)
    start, size = [respondent.tokenizer.bos_token_id], respondent.max_length
    expected = scored(respondent, start, ids[:size])
    for at in range(size, len(ids), size):
        end = min(at + size, len(ids))
        expected += scored(respondent, ids[end - size - 1 : at], ids[at:end])
    assert respondent.rolling([LONG, ""]) == [pytest.approx(expected, abs=1e-2), 0]


def test_text_is_written_after_the_end_of_a_prompt(respondent):
    settings = {"max_gen_toks": 5, "until": ["zzz", ""]}
    short, long = respondent.generated([("the sun", settings), (LONG, settings)])
    assert short
    ids = torch.tensor([respondent.tokenizer.encode(LONG)[-(respondent.max_length - 5) :]])
    written = respondent.model.generate(ids, max_new_tokens=5, do_sample=False, pad_token_id=0)[0, ids.shape[1] :]
    assert long == respondent.tokenizer.decode(written, skip_special_tokens=True)
    stopped = respondent.generated([(LONG, {**settings, "until": long[-2:]})])
    assert stopped == [long[: long.index(long[-2:])]]


def test_drawing_needs_a_temperature_and_can_be_forbidden(respondent):
    hot = {"max_new_tokens": 8, "temperature": 5.0}
    one, same, other = (
        respondent.generated([("the sun", settings)])[0] for settings in (hot, hot, {**hot, "top_p": 0.5})
    )
    assert one == same != other
    greedy = respondent.generated([("the sun", {"max_tokens": 8})])
    assert respondent.generated([("the sun", {**hot, "do_sample": False})]) == greedy != [one]


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"max_gen_toks": 64}, DataError, "64 tokens are to be written and the model has 64 positions, where lm_eval"),
        ({}, DataError, "256 tokens are to be written"),
        ({"num_beams": 4}, RecipeError, "generation: unknown setting 'num_beams'"),
    ],
)
def test_generation_that_cannot_be_is_refused(respondent, settings, error, sentence):
    with pytest.raises(error, match=sentence):
        respondent.generated([("the sun", settings)])


def test_nothing_is_written_after_nothing(respondent):
    with pytest.raises(DataError, match="a prompt has no token to write after; give it text, or a tokenizer that adds"):
        respondent.generated([("", {"max_gen_toks": 4})])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"dtype": "bfloat16"}, r"--model_args: dtype: unknown key; did you mean 'method'\? Known: add_bos_token, "),
        ({"device": "gpu"}, r"device: 'gpu' is no device; give cpu or cuda:0"),
        ({"max_length": -1}, r"--model_args: max_length"),
        ({"method": "mean"}, "--model_args: method: must be one of within_word_l2r, original, got 'mean'"),
    ],
)
def test_a_wrong_model_argument_is_one_sentence(gpt2_run, arguments, sentence):
    with pytest.raises(RecipeError, match=sentence):
        ask(gpt2_run, **arguments)


def test_a_model_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(CheckpointError, match="there is no folder"):
        ask(tmp_path / "nothing")


def test_a_missing_gpu_leaves_the_processor(gpt2_run, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert ask(gpt2_run, device="cuda:0").device == torch.device("cpu")


def test_special_tokens_can_be_left_to_the_tokenizer_or_not(llama_run):
    auto, without = ask(llama_run), ask(llama_run, add_bos_token=False)
    pairs = [("the sun is", " warm")]
    assert auto.loglikelihoods(pairs) == without.loglikelihoods(pairs), "our tokenizers add none"


def test_a_masked_model_is_asked_for_pseudo_log_likelihoods(bert_run, monkeypatch):
    asked = []

    def pseudo(model, tokenizer, pairs, *, method):
        asked.append((type(model).__name__, list(pairs), method))
        return [SimpleNamespace(log_likelihood=-float(len(continuation)), is_greedy=True) for _, continuation in pairs]

    module = ModuleType("ptft.prompting.masked")
    module.pseudo_loglikelihoods = pseudo
    monkeypatch.setitem(sys.modules, "ptft.prompting.masked", module)
    masked = ask(bert_run, method="original")
    assert masked.loglikelihoods([("a", " bc")]) == [(-3.0, True)]
    assert masked.rolling(["abcd"]) == [-4.0]
    assert asked == [
        ("BertForMaskedLM", [("a", " bc")], "original"),
        ("BertForMaskedLM", [("", "abcd")], "original"),
    ]
    with pytest.raises(
        RecipeError, match="is a masked model, which writes no text; take tasks that score given answers"
    ):
        masked.generated([("a", {})])


# The verb


@pytest.fixture
def versions(monkeypatch):
    """Say which version of lm_eval is installed, if any."""

    def say(found):
        def version(name):
            if found is None:
                raise PackageNotFoundError(name)
            return found

        monkeypatch.setattr(adapter, "version", version)

    return say


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (None, 'ptft: lm_eval is not installed; pip install "ptft[bench]", or lm_eval==0.4.13\n'),
        (
            "0.4.9",
            "ptft: lm_eval is installed in version 0.4.9; supported is 0.4.13: "
            'pip install "ptft[bench]", or lm_eval==0.4.13\n',
        ),
    ],
)
def test_the_verb_needs_one_version_of_lm_eval(versions, capsys, found, sentence):
    versions(found)
    assert command(["lm_eval", "--tasks", "x", "--limit", "10"]) == 2
    assert capsys.readouterr() == ("", sentence)


def test_the_verb_alone_shows_its_help(capsys):
    assert command(["lm_eval"]) == 0
    alone = capsys.readouterr().out
    assert command(["lm_eval", "--help"]) == 0
    assert capsys.readouterr().out == alone
    assert alone.startswith("usage: ptft lm_eval [run|ls|validate]")
    assert "add_bos_token" in alone


def test_the_verb_works_in_one_process(monkeypatch, capsys):
    monkeypatch.setattr(adapter, "num_processes", lambda: 2)
    assert command(["lm_eval", "--tasks", "x"]) == 2
    assert capsys.readouterr().err == (
        "ptft: lm_eval: runs in one process; start it without a launcher, such as accelerate launch\n"
    )


def test_the_arguments_arrive_as_they_were_typed(monkeypatch):
    typed = ["run", "--tasks", "x", "y", "-L", "10", "--model_args", "pretrained=a,device=cpu", "key=value", "-s"]
    arrived = []
    monkeypatch.setattr(adapter, "run", lambda arguments: arrived.extend(arguments) or 7)
    assert command(["lm_eval", *typed]) == 7
    assert arrived == typed


@pytest.mark.parametrize(
    ("arguments", "added"),
    [
        (["--tasks", "x"], True),
        (["run", "--tasks", "x", "--model_args", "pretrained=a"], True),
        (["--tasks", "x", "--model", "hf"], False),
        (["--tasks", "x", "--model=hf"], False),
        (["-M", "hf", "--tasks", "x"], False),
        (["-Mhf", "--tasks", "x"], False),
        (["--config", "x.yaml"], False),
        (["-Cx.yaml"], False),
        (["ls", "tasks"], False),
        (["validate", "--tasks", "x"], False),
        (["run"], False),
        ([], False),
    ],
)
def test_the_model_is_ptft_where_none_is_chosen(arguments, added):
    assert adapter.with_model(arguments) == arguments + (["--model", "ptft"] if added else [])
