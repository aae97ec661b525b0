"""The eight shapes of GPT-3 (Brown et al. 2020, arXiv 2005.14165, table 2.1) on the stock GPT-2 architecture.

==========  ======  =====  =====  =============  ===============
preset      layers  width  heads  learning rate  tokens a step
==========  ======  =====  =====  =============  ===============
gpt3-small      12    768     12         6.0e-4      0.5 million
gpt3-medium     24   1024     16         3.0e-4      0.5 million
gpt3-large      24   1536     16         2.5e-4      0.5 million
gpt3-xl         24   2048     16         2.0e-4        1 million
gpt3-2.7b       32   2560     32         1.6e-4        1 million
gpt3-6.7b       32   4096     32         1.2e-4        2 million
gpt3-13b        40   5120     40         1.0e-4        2 million
gpt3-175b       96  12288     96         0.6e-4      3.2 million
==========  ======  =====  =====  =============  ===============

Each was trained on 300 billion tokens with 50,257 byte-level BPE tokens and 2,048 positions.

Differs: GPT-3 alternates dense and locally banded sparse attention, here all layers are dense. Two rows of the table do
not fit together, and in stock GPT-2 the heads share the width: XL has 24 heads of 128, which are 3,072 and not 2,048
(taken: 16 heads of 128), and 13B a width of 5,140 for 40 heads of 128, which are 5,120 (taken: 5,120).
"""

from ptft.models.preset import Preset


def _gpt3(name: str, layers: int, width: int, heads: int) -> Preset:
    return Preset(
        name=f"gpt3-{name}",
        summary=f"GPT-3 decoder with dense attention, {layers} layers x {width}, {heads} heads, 2048 positions",
        model_type="gpt2",
        kind="decoder",
        positions=2048,
        shape={"n_layer": layers, "n_embd": width, "n_head": heads},
    )


SMALL = _gpt3("small", 12, 768, 12)
MEDIUM = _gpt3("medium", 24, 1024, 16)
LARGE = _gpt3("large", 24, 1536, 16)
XL = _gpt3("xl", 24, 2048, 16)
B2_7 = _gpt3("2.7b", 32, 2560, 32)
B6_7 = _gpt3("6.7b", 32, 4096, 32)
B13 = _gpt3("13b", 40, 5120, 40)
B175 = _gpt3("175b", 96, 12288, 96)
