"""GPT-1's shape (Radford et al. 2018, Improving Language Understanding by Generative Pre-Training).

117 million parameters with 40,478 BPE tokens; trained with a learning rate of 2.5e-4 and 64 rows of 512 tokens a step
for 100 epochs. Layer norms come after the residual sums, as in BERT, and attention has one implementation, plain matrix
products.
"""

from ptft.models.preset import Preset

GPT1 = Preset(
    name="gpt1",
    summary="GPT-1 decoder, 12 layers x 768, 12 heads, 512 positions",
    model_type="openai-gpt",
    kind="decoder",
    positions=512,
    shape={"n_layer": 12, "n_embd": 768, "n_head": 12},
)
