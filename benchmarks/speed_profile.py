"""Where the time of a step goes, by operation and by class of kernel, from ``torch.profiler``.

Run: python benchmarks/speed_profile.py --data DIR [--only CASE] shows it for our steps of ``speed_cpu.py`` on one
thread, in bf16 (where the machine has it) and fp32; nothing is written.
"""

from typing import Any

_CLASSES = (
    ("attention", ("flash", "fmha", "attention", "cudnn_generated_fort", "scaled_dot", "softmax")),
    ("optimizer", ("adam", "multi_tensor", "foreach", "muon", "clip_grad", "_norm_by")),
    ("loss", ("nll", "cross_entropy", "logsumexp", "log_softmax")),
    ("embedding", ("embedding", "index", "gather", "scatter")),
    ("norm", ("layer_norm", "layernorm", "rms_norm", "native_norm")),
    ("matrix products", ("gemm", "nvjet", "cutlass", "xmma", "cublas", "addmm", "mm", "bmm", "linear", "matmul")),
    ("dropout", ("dropout", "bernoulli", "philox", "native_dropout")),
    ("activation", ("gelu", "tanh", "silu", "relu")),
    ("copies and casts", ("copy", "memcpy", "memset", "cat", "fill", "zero", "contiguous", "to_copy")),
    ("reductions", ("reduce", "sum", "mean", "norm", "triton_red", "triton_per")),
    ("elementwise", ("elementwise", "vectorized", "triton_poi", "add", "mul", "div", "where", "sub")),
)


def kind_of(name: str) -> str:
    """The class of a kernel or operation, by its name: the first that fits."""
    lower = name.lower()
    return next((kind for kind, words in _CLASSES if any(word in lower for word in words)), "other")


def summary(profiler: Any, num_steps: int) -> dict[str, Any]:
    """Milliseconds a step by class, and of the operations that take the most: of kernels on a GPU, else on the CPU."""
    events = profiler.key_averages()
    on_device = sum(event.self_device_time_total for event in events) > 0
    times = [
        (event.key, (event.self_device_time_total if on_device else event.self_cpu_time_total) / 1e3, event.count)
        for event in events
        if not (on_device and event.self_device_time_total == 0) and not event.key.startswith("ProfilerStep")
    ]
    by_class: dict[str, float] = {}
    for name, milliseconds, _ in times:
        by_class[kind_of(name)] = by_class.get(kind_of(name), 0.0) + milliseconds / num_steps
    most = sorted(times, key=lambda entry: -entry[1])[:40]
    return {
        "by_class": dict(sorted(by_class.items(), key=lambda entry: -entry[1])),
        "by_name": [[name, milliseconds / num_steps, count / num_steps] for name, milliseconds, count in most],
    }


def main() -> None:
    """The cases of ``speed_cpu.py`` in both precisions."""
    from measure import arguments
    from speed_cpu import CLM, FINETUNE, MLM
    from speed_work import ours, prepared

    cases = {case.name: case for case in (*MLM.values(), CLM, FINETUNE)}
    options = arguments(__doc__ or "", only=tuple(cases))
    if options.data is None:
        raise SystemExit("give --data DIR, a folder with corpora/ and tasks/")
    for name in [options.only] if options.only else cases:
        data = prepared(cases[name], options.data, (options.work / "speed").absolute())
        for precision in ("auto", "fp32"):
            side = ours("ours", cases[name], data, 1, 10, precision=precision)
            try:
                plain, found = side.turn(0, 10), side.turn(0, 10, profile=True)["profile"]
            finally:
                side.end()
            print(f"{name} precision={precision}: {plain['seconds'] / plain['steps'] * 1e3:.1f} ms a step")
            for kind, milliseconds in found["by_class"].items():
                print(f"  {milliseconds:8.2f} ms  {kind}")
            for operation, milliseconds, calls in found["by_name"]:
                print(f"    {milliseconds:8.2f} ms {calls:6.1f} x {operation}", flush=True)


if __name__ == "__main__":
    main()
