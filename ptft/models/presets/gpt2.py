"""GPT-2's shapes (Radford et al. 2019, Language Models are Unsupervised Multitask Learners), and smaller ones.

The four sizes have 124, 355, 774 and 1,558 million parameters with 50,257 byte-level BPE tokens, as released; the
paper's table 2 says 117M, 345M, 762M and 1542M, which was corrected later. All were trained with 512 rows of 1,024
tokens a step; the paper gives no learning rates.
"""

from ptft.models.preset import Preset


def _gpt2(name: str, layers: int, width: int, heads: int, positions: int) -> Preset:
    return Preset(
        name=name,
        summary=f"GPT-2 decoder, {layers} layers x {width}, {heads} heads, {positions} positions",
        model_type="gpt2",
        kind="decoder",
        positions=positions,
        shape={"n_layer": layers, "n_embd": width, "n_head": heads},
    )


TINY = _gpt2("gpt2-tiny", 2, 128, 2, 512)
MINI = _gpt2("gpt2-mini", 4, 256, 4, 512)
SMALL = _gpt2("gpt2-small", 6, 384, 6, 1024)
GPT2 = _gpt2("gpt2", 12, 768, 12, 1024)
MEDIUM = _gpt2("gpt2-medium", 24, 1024, 16, 1024)
LARGE = _gpt2("gpt2-large", 36, 1280, 20, 1024)
XL = _gpt2("gpt2-xl", 48, 1600, 25, 1024)
