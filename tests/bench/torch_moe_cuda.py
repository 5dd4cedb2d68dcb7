"""Trains an upcycled Llama as fast as PyTorch can on one GPU: what the benchmark there compares with.

    torch_moe_cuda.py --sizes '{"vocab":..,"d":..,"layers":..,"ff":..,"heads":..,"kv_heads":..,"head_dim":..}' [--tied]
        --sequence T --micro-batch B --accumulate N [--steps N] [--variants NAME,..] [--seconds S] [--device cuda|cpu]

Weights are random, f32 as AdamW's states are (fused); products and attention are bf16 (autocast); experts are one
grouped product each way (grouped_mm), attention is scaled_dot_product_attention, losses are made in chunks of rows that
are computed again in the backward half. Variants are tried in order, with all that takes less memory behind what takes
more, as long as there is time; each prints a line of JSON when it is done, or why it did not work.
"""

import argparse
import json
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from torch_model import Attention, Norm, parameter_groups

EXPERTS, TOP_K, BALANCE, CHUNK = 8, 2, 0.01, 4096

# name: (compiled, layers computed again in the backward half)
VARIANTS = {"eager": (False, False), "eager+recompute": (False, True), "compile": (True, False)}
VARIANTS["compile+recompute"] = (True, True)


class Config:
    def __init__(self, sizes):
        self.__dict__.update(sizes)
        self.eps, self.theta = 1e-5, 500000.0


def grouped_product(rows, weights, ends):
    """rows [R, k], sorted by group, by weights [E, n, k]: [R, n]. Rows of group e end at ends[e]."""
    product = getattr(F, "grouped_mm", None) or torch._grouped_mm
    return product(rows, weights.to(rows.dtype).transpose(-2, -1), offs=ends)


class Experts(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate = nn.Linear(config.d, EXPERTS, bias=False)
        self.w1 = nn.Parameter(torch.empty(EXPERTS, config.ff, config.d))
        self.w3 = nn.Parameter(torch.empty(EXPERTS, config.ff, config.d))
        self.w2 = nn.Parameter(torch.empty(EXPERTS, config.d, config.ff))

    def forward(self, x):
        rows = x.reshape(-1, x.shape[-1])
        with torch.autocast(rows.device.type, enabled=False):
            logits = F.linear(rows.float(), self.gate.weight)
        top, chosen = logits.topk(TOP_K, dim=-1)
        slots = chosen.flatten()
        order = slots.argsort(stable=True)
        ends = F.one_hot(slots, EXPERTS).sum(0).cumsum(0).to(torch.int32)
        taken = rows[order // TOP_K].to(torch.bfloat16)
        hidden = F.silu(grouped_product(taken, self.w1, ends)) * grouped_product(taken, self.w3, ends)
        y = grouped_product(hidden, self.w2, ends) * top.softmax(dim=-1).flatten()[order, None]
        sums = torch.zeros_like(rows).index_add(0, order // TOP_K, y.to(rows.dtype))
        share = F.one_hot(slots, EXPERTS).float().mean(dim=0)
        return sums.view_as(x), EXPERTS * (share * logits.softmax(dim=-1).mean(dim=0)).sum()


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = Norm(config), Norm(config)
        self.self_attn, self.mlp = Attention(config), Experts(config)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        y, balance = self.mlp(self.post_attention_layernorm(x))
        return x + y, balance


class Model(nn.Module):
    def __init__(self, config, length, is_tied, recomputes):
        super().__init__()
        self.embed = nn.Embedding(config.vocab, config.d)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm, self.recomputes = Norm(config), recomputes
        self.head = self.embed.weight if is_tied else nn.Parameter(torch.empty(config.vocab, config.d))
        powers = torch.arange(0, config.head_dim, 2) / config.head_dim
        angles = torch.outer(torch.arange(length).float(), config.theta**-powers)
        self.register_buffer("cos", torch.cat((angles, angles), dim=-1).cos(), persistent=False)
        self.register_buffer("sin", torch.cat((angles, angles), dim=-1).sin(), persistent=False)

    def chunk_loss(self, rows, targets):
        return F.cross_entropy(F.linear(rows, self.head).float(), targets, reduction="sum")

    def forward(self, tokens, targets):
        x, balance = self.embed(tokens), 0.0
        for layer in self.layers:
            if self.recomputes:
                x, layer_balance = checkpoint(layer, x, self.cos, self.sin, use_reentrant=False)
            else:
                x, layer_balance = layer(x, self.cos, self.sin)
            balance = balance + layer_balance
        rows, targets = self.norm(x).flatten(0, 1), targets.flatten()
        losses = (
            checkpoint(self.chunk_loss, *part, use_reentrant=False)
            for part in zip(rows.split(CHUNK), targets.split(CHUNK))
        )
        return sum(losses) / targets.numel() + BALANCE * balance


class Trainer:
    def __init__(self, arguments, is_compiled, recomputes):
        torch.manual_seed(0)
        self.arguments, self.device = arguments, arguments.device
        with torch.device(self.device):
            self.model = Model(Config(arguments.sizes), arguments.sequence, arguments.tied, recomputes)
            with torch.no_grad():
                for parameter in self.model.parameters():
                    parameter.normal_(std=0.02) if parameter.dim() > 1 else parameter.fill_(1.0)
        groups = parameter_groups(self.model, 0.1)
        self.optimizer = torch.optim.AdamW(groups, lr=3e-5, betas=(0.9, 0.95), eps=1e-8, fused=True)
        self.forward = torch.compile(self.model) if is_compiled else self.model
        shape = (arguments.accumulate, arguments.micro_batch, arguments.sequence + 1)
        self.tokens = torch.randint(arguments.sizes["vocab"], shape, device=self.device)

    def step(self):
        total = 0.0
        for tokens in self.tokens:
            with torch.autocast(self.device, dtype=torch.bfloat16):
                loss = self.forward(tokens[:, :-1], tokens[:, 1:]) / len(self.tokens)
            loss.backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return total.item()  # waits for the device


def run_variant(arguments, name, end):
    if arguments.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    trainer = Trainer(arguments, *VARIANTS[name])
    losses, seconds = [trainer.step()], []  # the first step compiles
    while len(seconds) < arguments.steps and (not seconds or time.monotonic() < end):
        start = time.perf_counter()
        losses.append(trainer.step())
        seconds.append(time.perf_counter() - start)
    tokens = trainer.tokens[..., 1:].numel()
    result = {"variant": name, "ms": [1e3 * s for s in seconds], "tokens_per_s": [tokens / s for s in seconds]}
    result |= {"losses": losses, "parameters": sum(p.numel() for p in trainer.model.parameters())}
    if arguments.device == "cuda":
        result["peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
        result["peak_reserved_mib"] = torch.cuda.max_memory_reserved() / 2**20
    return result


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=json.loads, required=True)
    parser.add_argument("--tied", action="store_true", help="the embedding is the head")
    parser.add_argument("--sequence", type=int, required=True)
    parser.add_argument("--micro-batch", type=int, required=True)
    parser.add_argument("--accumulate", type=int, required=True)
    parser.add_argument("--steps", type=int, default=5, help="that count, of each variant")
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--seconds", type=float, default=120.0, help="after which no variant is begun")
    parser.add_argument("--device", default="cuda")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    end = time.monotonic() + arguments.seconds
    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.exit("not measured: PyTorch sees no CUDA device")
    for name in arguments.variants.split(","):
        if time.monotonic() > end:
            print(json.dumps({"variant": name, "failed": "no time was left"}), flush=True)
            continue
        try:
            result = run_variant(arguments, name, end)
        except Exception as error:  # of PyTorch, the compiler, memory: the next variant may do
            result = {"variant": name, "failed": f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300]}"}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
