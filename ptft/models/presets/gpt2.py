"""GPT-2's shapes (Radford et al. 2019), the 125M model of GPT-3 (Brown et al. 2020, table 2.1), and smaller ones."""

from ptft.models.preset import Preset


def _gpt(name: str, layers: int, width: int, heads: int, positions: int) -> Preset:
    return Preset(
        name=name,
        summary=f"GPT-2 style decoder, {layers} layers x {width}, {heads} heads, {positions} positions",
        model_type="gpt2",
        kind="decoder",
        positions=positions,
        shape={"n_layer": layers, "n_embd": width, "n_head": heads},
    )


TINY = _gpt("gpt2-tiny", 2, 128, 2, 512)
MINI = _gpt("gpt2-mini", 4, 256, 4, 512)
SMALL = _gpt("gpt2-small", 6, 384, 6, 1024)
GPT2 = _gpt("gpt2", 12, 768, 12, 1024)
MEDIUM = _gpt("gpt2-medium", 24, 1024, 16, 1024)
LARGE = _gpt("gpt2-large", 36, 1280, 20, 1024)
GPT3_SMALL = _gpt("gpt3-small", 12, 768, 12, 2048)
