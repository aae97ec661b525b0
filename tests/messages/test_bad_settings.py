"""Settings, recipes and folders that cannot be, as a user types them: one sentence, exit code 2, nothing written."""

from pathlib import Path

import pytest

PRETRAIN = "pretrain preset=bert-tiny corpus.path=good.txt out=new"
NO_CORPUS = "pretrain preset=bert-tiny out=new"
NO_PRESET = "pretrain corpus.path=good.txt out=new"
TUNE = "finetune model=encoder data=good.csv length=32 out=new"
CURVE = "curve model=encoder data=good.csv length=32 out=new"
NO_OUT = "pretrain preset=bert-tiny corpus.path=good.txt"

SETTINGS = [
    (f"{PRETRAIN} lr=-1", r"command line: lr=-1: must be greater than 0, got -1"),
    (f"{PRETRAIN} lr=fast", r"command line: lr=fast: must be a number, got 'fast'"),
    (f"{PRETRAIN} lenght=64", r"lenght=64: unknown key; did you mean 'length'\? Known: accumulate, "),
    (f"{PRETRAIN} seed=1 seed=2", r"seed=2: is given twice, first as seed=1; keep one of them"),
    (f"{PRETRAIN} lr", r"'lr': no recipe file, .* a setting is given as key=value, without spaces"),
    (f"{PRETRAIN} --lr=1", r"'--lr=1': there are no options but --help; write lr=1"),
    ("pretrian preset=bert-tiny", r"unknown verb 'pretrian'; did you mean 'pretrain'\?"),
    (
        f"{PRETRAIN} objective=mml",
        r"objective=mml: unknown objective 'mml'; did you mean 'masked_lm'\? Known: causal_lm",
    ),
    (f"{PRETRAIN} objective=causal_lm,masked_lm", r"objective: causal_lm and masked_lm cannot be trained together"),
    (
        f"{NO_PRESET} preset=llama-tiny objective=causal_lm center_embeddings=true",
        r"center_embeddings: the word embeddings of this llama are not tied to its output",
    ),
    (f"{PRETRAIN} objective=masked_lm,masked_lm", r"objective: name at least one, each once, got \['masked_lm', 'mas"),
    (
        f"{PRETRAIN} objective=next_sentence objective.next_sentence.segments=sentences "
        "objective.next_sentence.short_ratio=0",
        r"objective: next_sentence.short_ratio: has no effect on pairs of single sentences \(segments=sentences\); l",
    ),
    (
        f"{PRETRAIN} objective=next_sentence objective.next_sentence.segments=sentences "
        "objective.next_sentence.same_document_fix=true",
        r"objective: next_sentence.same_document_fix: has no effect on pairs of single sentences",
    ),
    (
        f"{PRETRAIN} objective=masked_lm,sentence_order objective.masked_lm.short_ratio=0",
        r"masked_lm.short_ratio: has no effect, since sentence_order makes the rows; give objective.sentence_order.sho",
    ),
    ("bench preset=bert-tny", r"unknown preset 'bert-tny'; did you mean 'bert-tiny'\? Known: bert-base, "),
    ("bench preset=bert-tiny length=513", r"length: 513 tokens are more than the model's 512 positions; give at most"),
    ("bench preset=bert-tiny precision=bf8", r"precision=bf8: must be one of auto, fp32, bf16, fp16, got 'bf8'"),
    ("bench length=64", r"preset: is required; give preset=..."),
    (f"{NO_PRESET} preset=bert-tny", r"unknown preset 'bert-tny'; did you mean 'bert-tiny'\? Known: bert-base, "),
    (f"{NO_PRESET} preset=gpt2-tiny objective=masked_lm", r"'gpt2-tiny' is a decoder, but masked_lm trains an encoder"),
    (NO_PRESET, r"give one of preset=NAME, for a new model, and model=DIR, to go on from; got neither"),
    (f"{PRETRAIN} model=encoder", r"give one of preset=NAME.* got preset=bert-tiny and model=encoder"),
    (f"{PRETRAIN} budget=fast", r"budget: 'fast' is no amount of training; give a number of steps, tokens, words, epo"),
    (f"{PRETRAIN} budget=30M", r"budget: '30M' is no amount of training; .* or a time .*: 90s, 30m, 2h"),
    (
        f"{PRETRAIN} budget=30m objective.masked_lm.final_mask_ratio=0.1",
        r"budget: '30m' does not say how many steps there are, which the schedule of masked_lm needs",
    ),
    (f"{TUNE} budget=30m", r"budget: fine-tuning counts steps or epochs, got '30m'"),
    (f"{CURVE} budget=1e15flops", r"budget: fine-tuning counts steps or epochs, got '1e15flops'"),
    (
        f"{PRETRAIN} packed_length=64",
        r"packed_length: a packed row of 64 tokens does not hold a text of length=128; give",
    ),
    (
        f"{PRETRAIN} cross_document_attention=true",
        r"cross_document_attention: has no effect without packed_length; give that too, or leave it out",
    ),
    (f"{PRETRAIN} packed_attention=mask", r"packed_attention: has no effect without packed_length"),
    (
        f"{PRETRAIN} packed_length=256 packed_attention=varlen",
        r"packed_attention=varlen: it needs a CUDA device, and this is cpu; use packed_attention=mask, or auto",
    ),
    (
        f"{NO_PRESET} preset=llama-tiny objective=hybrid packed_length=256",
        r"packed_length: hybrid trains whole rows, some of them with attention both ways, which texts cannot share",
    ),
    (
        f"{NO_PRESET} preset=gpt1 objective=causal_lm packed_length=256",
        r"packed_length: it is not known how to keep texts of a packed row apart in openai-gpt, only in bert, ",
    ),
    (f"{PRETRAIN} milestones_words=1M", r"milestones_words=1M: must be a number or 'babylm', got '1M'"),
    (f"{PRETRAIN} milestones_words=1e6,-5", r"milestones_words: must be numbers of words above 0, or babylm, got -5"),
    (f"{PRETRAIN} batch_ramp.start_ratio=0", r"batch_ramp.start_ratio=0: must be greater than 0, got 0"),
    (
        f"{PRETRAIN} batch_ramp.start_ratio=0.1 rows_per_step=16 accumulate=2",
        r"batch_ramp: start_ratio 0.1 of 16 rows is 1.6, too few for 1 process\(es\) with accumulate=2; make it larger",
    ),
    (
        f"{PRETRAIN} batch_ramp.share=0.3",
        r"batch_ramp.share: has no effect without batch_ramp.start_ratio; give that too",
    ),
    (
        f"{PRETRAIN} batch_ramp.start_ratio=0.5 budget=2h",
        r"batch_ramp: needs a known number of steps, which budget='2h'",
    ),
    (f"{PRETRAIN} budget=0steps", r"budget: must be more than nothing .*, got '0steps'"),
    (f"{PRETRAIN} rows_per_step=0", r"rows_per_step=0: must be at least 1, got 0"),
    (
        f"{PRETRAIN} guard.spike=0.5",
        r"guard.spike: a norm of 0.5 times the mean is no spike; give more than 1, such as 10",
    ),
    (f"{PRETRAIN} rows_per_step=10 accumulate=3", r"rows_per_step: 10 rows cannot be shared .* give a multiple of 3"),
    (
        f"{PRETRAIN} precision=fp16",
        r"precision='fp16' needs a CUDA device, and there is none; use precision=bf16, fp32",
    ),
    (f"{PRETRAIN} precision=bf16", r"precision='bf16' is not supported by this device in hardware; use precision=fp32"),
    (f"{PRETRAIN} precision=fp8", r"precision=fp8: must be one of auto, fp32, bf16, fp16, got 'fp8'; did you mean"),
    (
        f"{PRETRAIN} trackers=wandb",
        r"trackers=wandb: the library 'wandb' is not installed; pip install wandb, or leave",
    ),
    (
        f"{PRETRAIN} trackers=wandbb",
        r"must be one of tensorboard, wandb, trackio, got 'wandbb'; did you mean 'wandb'\?",
    ),
    (f"{PRETRAIN} schedule=lineer", r"unknown schedule 'lineer'; did you mean 'linear'\? Known: constant, cosine, "),
    (f"{PRETRAIN} schedule.warmup_ratio=2", r"schedule.warmup_ratio=2: must be less than 1, got 2"),
    (f"{PRETRAIN} optimizer=adamv", r"unknown optimizer 'adamv'; did you mean 'adam'\? Known: adadelta, "),
    (
        f"{PRETRAIN} optimizer.momentum=2",
        r"optimizer.momentum=2: unknown key; known: beta1, beta2, eps, name, weight_dec",
    ),
    (f"{PRETRAIN} optimizer=muon optimizer.momentum=2", r"optimizer.momentum=2: must be less than 1, got 2"),
    (
        f"{PRETRAIN} optimizer=sgd optimizer.momentum=-1",
        r"optimizer: Invalid momentum value: -1.0 \(torch's SGD\); give",
    ),
    (f"{PRETRAIN} resume=maybe", r"resume=maybe: must be true or false, got 'maybe'"),
    (f"{PRETRAIN} length=513", r"length: 513 tokens are more than the model's 512 positions; give at most that"),
    (f"{PRETRAIN} shape.hiden_size=8", r"shape.hiden_size: bert has no such attribute; did you mean 'hidden_size'\?"),
    (f"{PRETRAIN} shape.hidden_size=17", r"shape: the hidden size 17 cannot be divided among 2 attention heads"),
    (f"{PRETRAIN} shape.hidden_size=big", r"shape: \{'hidden_size': 'big'\} is no shape of bert-tiny: .*expected int"),
    (f"{PRETRAIN} seed=-1", r"seed=-1: must be at least 0, got -1"),
    (f"{PRETRAIN} vocab_size=10", r"vocab_size=10: must be at least 64, got 10"),
    (f"{NO_PRESET} preset=gpt2-tiny objective=causal_lm vocab_size=100", r"vocab_size: .* give at least 259, got 100"),
    (f"{PRETRAIN} corpus.valid_ratio=1", r"corpus.valid_ratio=1: must be less than 1, got 1"),
    (
        f"{PRETRAIN} corpus.split_sentences=eng",
        r"must be one of none, auto, en, ko, zh, ja, got 'eng'; did you mean 'en'",
    ),
    (
        f"{PRETRAIN} corpus.filters=wrods",
        r"unknown filter 'wrods'; did you mean 'words'\? Known: letters, repeated_lines",
    ),
    (f"{PRETRAIN} corpus.similarity=0.9", r"corpus.similarity is 0.9 but has no effect: only corpus.duplicates=near"),
    (
        f"{PRETRAIN} corpus.contaminated=drop",
        r"corpus.contaminated is 'drop' but has no effect: corpus.decontaminate n",
    ),
    (f"{PRETRAIN} corpus.decontaminate=god.txt", r"there is no file 'god.txt'; did you mean 'good.txt'\?"),
    (f"{PRETRAIN} corpus.parts.a.path=good.txt", r"corpus.path is 'good.txt' but has no effect: corpus.parts say what"),
    (
        f"{NO_CORPUS} corpus.parts.a.path=good.txt corpus.parts.a.split=x",
        r"corpus.parts.a.split is 'x' .*'good.txt': on",
    ),
    (f"{NO_CORPUS} corpus.parts.a.weight=0", r"corpus.parts.a.weight=0: must be greater than 0, got 0"),
    (
        "tokenizer corpus.path=good.txt kind=wordpeace out=new",
        r"must be one of wordpiece, bpe, .* did you mean 'wordpi",
    ),
    ("tokenizer corpus.path=good.txt prefix_space=true out=new", r"prefix_space: has no effect on wordpiece, .* leave"),
    ("tokenizer corpus.path=good.txt kind=bpe strip_accents=true out=new", r"strip_accents: a byte-level BPE keeps"),
    (f"{PRETRAIN} prefix_space=true", r"prefix_space: has no effect on wordpiece"),
    (
        f"{NO_PRESET} preset=gpt2-tiny objective=causal_lm tokenizer_kind=unigram",
        r"a unigram tokenizer cannot give back every text as it was, so a decoder cannot have it; give bpe",
    ),
    ("tokenizer corpus.path=good.txt vocab_size=many out=new", r"vocab_size=many: must be a whole number, got 'many'"),
    (f"{TUNE} seeds=0", r"seeds: must be a count of at least 1 or a list of different numbers from 0, got 0"),
    (f"{TUNE} seeds=1,1", r"seeds: must be a count .* different numbers from 0, got \[1, 1\]"),
    (f"{TUNE} pooling=average", r"pooling=average: must be one of auto, cls, mean, max, last, concat, got 'average'"),
    (f"{TUNE} budget=5Mwords", r"budget: fine-tuning counts steps or epochs, got '5Mwords'"),
    ("finetune model=encoder out=new", r"data: is required; give data=..., or name a recipe that sets it"),
    ("finetune preset=bert-tiny data=good.csv out=new", r"model: name the checkpoint .*; a preset needs init=scratch"),
    ("finetune init=scratch preset=bert-tny data=good.csv out=new", r"unknown preset 'bert-tny'; did you mean 'bert-t"),
    (f"{TUNE} init=scratch preset=bert-tiny", r"init=scratch takes the shape of either model=DIR or preset=NAME"),
    (f"{CURVE} labels=few", r"labels=few: must be a whole number or 'all', got 'few'"),
    (f"{CURVE} labels=8 methods=pretraind", r"methods: unknown method 'pretraind'; did you mean 'pretrained'\?"),
    (f"{CURVE} labels=8 lr=-1,1", r"lr: must be one or several rates above 0, got \[-1.0, 1.0\]"),
    (f"{CURVE} labels=8 seeds=0", r"seeds: must be a count of at least 1 .* got 0"),
]

RECIPES = [
    ("pretrain god.yaml", r"'god.yaml': no recipe file, and no recipe of that name comes with ptft"),
    ("pretrain syntax.yaml", r"syntax.yaml:3: is not YAML: while parsing a flow mapping, .*; check indentation"),
    ("pretrain twice.yaml", r"twice.yaml:4: lr: is given twice, first in line 2; keep one of them"),
    ("pretrain unknown_key.yaml", r"unknown_key.yaml:3: objectiv: unknown key; did you mean 'objective'\?"),
    (
        "finetune good.yaml",
        r"good.yaml: is a recipe for pretrain, not for finetune; do it with: ptft pretrain good.yaml",
    ),
    ("run", r"run: no recipe given; name a file, or one of emergence, hybrid, published/"),
    ("run recipe.yaml", r"'recipe.yaml': no recipe file"),
    ("run syntax.yaml", r"syntax.yaml:3: is not YAML"),
    ("run unknown_step.yaml", r"unknown_step.yaml:4: steps.a: unknown step 'pretrian'; did you mean 'pretrain'\?"),
    ("run loop.yaml", r"steps wait for each other in a circle: a -> b -> a"),
    ("run reference.yaml", r"steps.a: there is no step 'bb'; known: a"),
    ("run figures.yaml", r"figures.x: there is no step 'b'; known: a"),
    ("run steps.yaml out=photos", r"out: 'photos' exists and is no run folder of ptft; name a new folder"),
    ("run steps.yaml out=encoder", r"out: 'encoder' holds the run of a single step; name another folder"),
    ("run steps.yaml seed=-1", r"command line: seed=-1: must be at least 0, got -1"),
    ("check", r"check: what to check is missing; name a recipe, or one of curve, finetune"),
    ("check pretrian", r"check: 'pretrian': neither a recipe nor a verb with settings; did you mean 'pretrain'\?"),
    ("check twice.yaml", r"twice.yaml:4: lr: is given twice, first in line 2"),
    ("check steps.yaml", r"steps.a: there is no file 'god.txt'; did you mean 'good.txt'\?"),
    ("check steps.yaml out=photos", r"out: 'photos' exists and is no run folder of ptft"),
    ("check loop.yaml", r"steps wait for each other in a circle: a -> b -> a"),
]

FOLDERS = [
    (NO_OUT, r"out: is required; name a folder for the run with out=..."),
    (
        f"{NO_OUT} out=encoder",
        r"out: 'encoder' holds a run with other settings \(.*budget: '2steps' before, '3epochs' now.*\); ",
    ),
    (
        f"{TUNE.removesuffix('new')}encoder",
        r"out: 'encoder' holds the run of another step or version; name another folder",
    ),
    (f"{NO_OUT} out=photos", r"out: 'photos' exists and is no run folder of ptft; name a new folder"),
    (f"{NO_OUT} out=good.csv", r"out: 'good.csv' exists and is no run folder of ptft"),
    (
        f"{NO_OUT} out=good.csv/new",
        r"out: '.*good.csv' is a file, so 'good.csv/new' cannot be made; name another folder",
    ),
    ("tokenizer corpus.path=good.txt out=photos", r"out: 'photos' exists and is no run folder of ptft"),
    ("prompt model=decoder data=polarity out=photos", r"out: 'photos' exists and is no run folder of ptft"),
    ("curve model=encoder data=good.csv out=photos", r"out: 'photos' exists and is no run folder of ptft"),
    ("check pretrain preset=bert-tiny corpus.path=good.txt out=photos", r"out: 'photos' exists and is no run folder"),
    ("export model=classifier", r"out: is required; give out=..., or name a recipe"),
    ("export model=classifier out=good.txt", r"out: 'good.txt' exists already; name another folder or FILE.onnx"),
    ("export model=classifier out=no/such/x.onnx", r"out: the folder 'no/such' does not exist; make it first"),
    (f"{TUNE} push=weather", r"push: 'weather' names no user or organisation; give user/weather"),
    (f"{PRETRAIN} push=a/b/c", r"push: 'a/b/c' cannot be the name of a repository; give user/name, of lett"),
    (f"{PRETRAIN} push=ann/x", r"push: 'ann/x' is out of reach, since HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set"),
    (f"{CURVE} push=ann/x", r"push=ann/x: unknown key"),
    ("predict model=classifier data=good.csv", r"out: is required; give out=..., or name a recipe"),
    ("predict model=classifier data=good.csv out=unseen.csv", r"out: 'unseen.csv' exists already; name another file"),
    ("predict model=classifier data=good.csv out=no/such/x.csv", r"out: the folder 'no/such' does not exist; make it"),
    ("report photos", r"no run in folder 'photos'; .*; give the folder that a step wrote to"),
    ("lineage photos", r"'photos': holds no manifest.json"),
]


@pytest.mark.parametrize(("line", "sentence"), SETTINGS)
def test_setting_that_cannot_be(refused, line, sentence):
    refused(line, sentence)


@pytest.mark.parametrize(("line", "sentence"), RECIPES)
def test_recipe_that_cannot_be_followed(refused, line, sentence):
    refused(line, sentence)


@pytest.mark.parametrize(("line", "sentence"), FOLDERS)
def test_folder_that_is_not_for_it(refused, line, sentence):
    refused(line, sentence)


@pytest.mark.parametrize(
    "line", [PRETRAIN, "tokenizer corpus.path=good.txt out=new", "predict model=classifier data=good.csv out=new.csv"]
)
def test_folder_that_may_not_be_written(refused, monkeypatch, line):
    monkeypatch.setattr("os.access", lambda *_args: False)  # whoever runs the tests may be allowed everything
    refused(line, r"out: no permission to write in '.*'; name another f")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system that nobody can write to")
@pytest.mark.parametrize("line", [f"{NO_OUT} out=/proc/new", "tokenizer corpus.path=good.txt out=/proc/some/new"])
def test_folder_that_cannot_be_made(refused, line):
    refused(line, r"out: '/proc/.*new' cannot be written \(.*\); name another folder", late=True)


def test_every_mistake_has_a_line_of_its_own(typed):
    code, said, changed = typed(f"{PRETRAIN} lr=-1 rows_per_step=0 lenght=3")
    assert (code, changed) == (2, [])
    assert sorted(line.split(":")[2].strip() for line in said.splitlines()) == ["lenght=3", "lr=-1", "rows_per_step=0"]
