"""Tiny masked language models and the tokenizers that go with them."""

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AlbertConfig,
    AutoModelForMaskedLM,
    BertConfig,
    DistilBertConfig,
    ModernBertConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

TEXT = [
    "The unhappiest violinists played beautifully, and nobody listened.",
    "The soup is red. It was good. It was bad. It was very bad, unbelievably bad.",
    "영화가 재미있었다. 음악이 아름다웠고 배우들이 훌륭했다. 재미없는 이야기였다.",
] * 4
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}


def bert_like_tokenizer():
    """WordPiece, with [CLS] and [SEP]; words that are not among these have several tokens."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [
        "it",
        "was",
        "is",
        "bad",
        "good",
        "very",
        "the",
        "soup",
        "un",
        "##happi",
        "##est",
        "violin",
        "##ist",
        "재미",
    ]
    letters = sorted({letter for line in TEXT for letter in line.lower() if not letter.isspace()} | {*"bcjkqwxz"})
    pieces = dict.fromkeys([*specials, *letters, *(f"##{letter}" for letter in letters), *words])
    tokenizer = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), specials, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def roberta_like_tokenizer():
    """Byte-level BPE, with <s> and </s>; a token holds the space before its word."""
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    names = ("bos_token", "pad_token", "eos_token", "unk_token", "mask_token")
    named = dict(zip(names, specials, strict=True)) | {"cls_token": "<s>", "sep_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)


def masked_model(kind, tokenizer, positions=96, seed=0):
    """A model with weights large enough that its predictions differ."""
    ids = {"pad_token_id": tokenizer.pad_token_id, "vocab_size": len(tokenizer)}
    config = {
        "bert": lambda: BertConfig(**SMALL, **ids, max_position_embeddings=positions, initializer_range=0.3),
        "roberta": lambda: RobertaConfig(
            **SMALL, **ids, max_position_embeddings=positions + tokenizer.pad_token_id + 1, initializer_range=0.3
        ),
        "modernbert": lambda: ModernBertConfig(
            **SMALL,
            **ids,
            max_position_embeddings=positions,
            initializer_range=0.3,
            local_attention=8,
            global_attn_every_n_layers=2,
            bos_token_id=0,
            eos_token_id=0,
            cls_token_id=tokenizer.cls_token_id,
            sep_token_id=tokenizer.sep_token_id,
        ),
        "distilbert": lambda: DistilBertConfig(
            dim=32,
            hidden_dim=48,
            n_layers=2,
            n_heads=2,
            max_position_embeddings=positions,
            initializer_range=0.3,
            **ids,
        ),
        "albert": lambda: AlbertConfig(
            **SMALL, **ids, embedding_size=16, max_position_embeddings=positions, initializer_range=0.3
        ),
    }[kind]()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoModelForMaskedLM.from_config(config)
