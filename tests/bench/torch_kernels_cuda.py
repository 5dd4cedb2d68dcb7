"""PyTorch's grouped product and attention, one by one: the peers of cuda_kernel_bench's kernels.

    torch_kernels_cuda.py [--quick] [--device cuda|cpu]

Prints lines of JSON with names, FLOPs and milliseconds. Small operands are not pushed out of the device's cache: all of
these are larger.
"""

import argparse
import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F


def time_all(run, device, least_runs):
    """Milliseconds of runs, by events on a GPU."""
    for _ in range(3 if least_runs > 1 else 1):
        run()
    times, begun = [], time.monotonic()
    while len(times) < least_runs or (time.monotonic() - begun < 0.3 and len(times) < 100):
        if device == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run()
            end.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(end))
        else:
            start = time.perf_counter()
            run()
            times.append(1e3 * (time.perf_counter() - start))
    return times


def tell(name, flops, times):
    spread = {"median": statistics.median(times), "least": min(times), "greatest": max(times), "runs": len(times)}
    print(json.dumps({"name": name, "flops": flops, "ms": spread}), flush=True)


def grouped_products(device, runs, n_rows, k, n, experts=8):
    product = getattr(F, "grouped_mm", None) or torch._grouped_mm
    rows = torch.randn(n_rows, k, device=device, dtype=torch.bfloat16)
    weights = torch.randn(experts, n, k, device=device, dtype=torch.bfloat16)
    slopes = torch.randn(n_rows, n, device=device, dtype=torch.bfloat16)
    ends = torch.linspace(0, n_rows, experts + 1, device=device)[1:].to(torch.int32)
    flops = 2.0 * n_rows * k * n
    tell("grouped forward", flops, time_all(lambda: product(rows, weights.transpose(-2, -1), offs=ends), device, runs))
    tell("grouped rows", flops, time_all(lambda: product(slopes, weights, offs=ends), device, runs))
    tell("grouped weights", flops, time_all(lambda: product(slopes.t(), rows, offs=ends), device, runs))


def attention(device, runs, batch, length, heads, kv_heads, head_dim):
    def random(n_heads):
        shape = (batch, n_heads, length, head_dim)
        return torch.randn(shape, device=device, dtype=torch.bfloat16, requires_grad=True)

    q, k, v = random(heads), random(kv_heads), random(kv_heads)
    slopes = torch.randn_like(q)

    def forward():
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

    flops = 2.0 * batch * heads * length * length * head_dim
    with torch.no_grad():
        tell("attention forward", flops, time_all(forward, device, runs))
    y = forward()
    tell(
        "attention backward",
        2.5 * flops,
        time_all(lambda: torch.autograd.grad(y, (q, k, v), slopes, retain_graph=True), device, runs),
    )


def copies(device, runs, n_bytes):
    source = torch.randint(256, (n_bytes,), device=device, dtype=torch.uint8)
    target = torch.empty_like(source)
    times = time_all(lambda: target.copy_(source), device, runs)
    spread = {"median": statistics.median(times), "least": min(times), "greatest": max(times), "runs": len(times)}
    print(json.dumps({"name": "copy", "bytes": 2 * n_bytes, "ms": spread}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    device, is_quick = arguments.device, arguments.quick
    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("not measured: PyTorch sees no CUDA device")
    runs = 1 if is_quick else 7
    parts = [
        (copies, (1 << 16,) if is_quick else (1 << 30,)),
        (grouped_products, (64, 32, 48) if is_quick else (16384, 4096, 14336)),
        (attention, (1, 64, 4, 2, 32) if is_quick else (2, 8192, 32, 8, 128)),
    ]
    for part, sizes in parts:
        try:
            part(device, runs, *sizes)
        except Exception as error:  # one that PyTorch cannot do says so
            message = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300]}"
            print(json.dumps({"name": part.__name__, "failed": message}), flush=True)


main()
