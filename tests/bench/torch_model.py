"""A Llama, and a Mixtral, as one writes them in PyTorch: what the benchmark compares with. Weights are an export of moec,
so that both sides compute the same."""

import json
import mmap
import struct

import torch
import torch.nn.functional as F
from torch import nn


class Config:
    def __init__(self, folder, balance):
        with open(f"{folder}/config.json") as file:
            config = json.load(file)
        self.vocab, self.d, self.ff = config["vocab_size"], config["hidden_size"], config["intermediate_size"]
        self.layers, self.heads = config["num_hidden_layers"], config["num_attention_heads"]
        self.kv_heads, self.eps, self.theta = (
            config["num_key_value_heads"],
            config["rms_norm_eps"],
            config["rope_theta"],
        )
        self.experts, self.top_k = config.get("num_local_experts", 0), config.get("num_experts_per_tok", 0)
        self.head_dim, self.balance = self.d // self.heads, balance


class Norm(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.empty(config.d)), config.eps

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def rotate(x, cos, sin):
    """x is [B, heads, T, head_dim]; the halves of head_dim are the pairs."""
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-high, low), dim=-1) * sin


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.q_proj = nn.Linear(config.d, config.heads * config.head_dim, bias=False)
        self.k_proj = nn.Linear(config.d, config.kv_heads * config.head_dim, bias=False)
        self.v_proj = nn.Linear(config.d, config.kv_heads * config.head_dim, bias=False)
        self.o_proj = nn.Linear(config.heads * config.head_dim, config.d, bias=False)

    def forward(self, x, cos, sin):
        batch, length, _ = x.shape
        q = rotate(self.q_proj(x).view(batch, length, self.heads, self.head_dim).transpose(1, 2), cos, sin)
        k = rotate(self.k_proj(x).view(batch, length, self.kv_heads, self.head_dim).transpose(1, 2), cos, sin)
        v = self.v_proj(x).view(batch, length, self.kv_heads, self.head_dim).transpose(1, 2)
        q, k = q.to(v.dtype), k.to(v.dtype)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.heads != self.kv_heads)
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))


class Mlp(nn.Module):
    """w1, w3 and w2 are the names of Mixtral for gate, up and down."""

    def __init__(self, config):
        super().__init__()
        self.w1 = nn.Linear(config.d, config.ff, bias=False)
        self.w3 = nn.Linear(config.d, config.ff, bias=False)
        self.w2 = nn.Linear(config.ff, config.d, bias=False)

    def forward(self, x):
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Experts(nn.Module):
    """Gives the output, and the balance loss of the layer (spec/numerics.md)."""

    def __init__(self, config, is_sorted):
        super().__init__()
        self.top_k, self.is_sorted = config.top_k, is_sorted
        self.gate = nn.Linear(config.d, config.experts, bias=False)
        self.experts = nn.ModuleList(Mlp(config) for _ in range(config.experts))

    def forward(self, x):
        rows = x.view(-1, x.shape[-1])
        logits = self.gate(rows)
        top, chosen = logits.float().topk(self.top_k, dim=-1)
        weights = top.softmax(dim=-1)
        y = (self.run_sorted if self.is_sorted else self.run_each)(rows, weights, chosen)
        return y.view_as(x), self.balance(logits, chosen)

    def balance(self, logits, chosen):
        n_experts = len(self.experts)
        share = F.one_hot(chosen, n_experts).float().mean(dim=(0, 1))
        return n_experts * (share * logits.float().softmax(dim=-1).mean(dim=0)).sum()

    def run_each(self, rows, weights, chosen):
        """As transformers does: each expert takes its rows and adds what it computes to theirs."""
        y = torch.zeros_like(rows)
        for index, expert in enumerate(self.experts):
            token, slot = torch.where(chosen == index)
            if token.numel() > 0:
                y.index_add_(0, token, (expert(rows[token]) * weights[token, slot, None]).to(y.dtype))
        return y

    def run_sorted(self, rows, weights, chosen):
        """All rows are gathered once, sorted by expert."""
        order = chosen.flatten().argsort(stable=True)
        token = order // self.top_k
        counts = torch.bincount(chosen.flatten(), minlength=len(self.experts)).tolist()
        parts = [expert(part) for expert, part in zip(self.experts, rows[token].split(counts))]
        y = torch.cat(parts) * weights.flatten()[order, None]
        return torch.zeros_like(rows).index_add(0, token, y.to(rows.dtype))


class Layer(nn.Module):
    def __init__(self, config, is_sorted):
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = Norm(config), Norm(config)
        self.self_attn = Attention(config)
        self.mlp = Experts(config, is_sorted) if config.experts else Mlp(config)
        self.is_moe = config.experts > 0

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        y = self.mlp(self.post_attention_layernorm(x))
        y, balance = y if self.is_moe else (y, 0.0)
        return x + y, balance


class Model(nn.Module):
    def __init__(self, config, length, is_sorted):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab, config.d)
        self.layers = nn.ModuleList(Layer(config, is_sorted) for _ in range(config.layers))
        self.norm, self.balance = Norm(config), config.balance
        angles = torch.outer(
            torch.arange(length).float(), config.theta ** -(torch.arange(0, config.head_dim, 2) / config.head_dim)
        )
        self.register_buffer("cos", torch.cat((angles, angles), dim=-1).cos(), persistent=False)
        self.register_buffer("sin", torch.cat((angles, angles), dim=-1).sin(), persistent=False)

    def forward(self, tokens, targets):
        x, balance = self.embed_tokens(tokens), 0.0
        for layer in self.layers:
            x, layer_balance = layer(x, self.cos, self.sin)
            balance = balance + layer_balance
        logits = F.linear(self.norm(x), self.embed_tokens.weight)
        nll = F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))
        return nll + self.balance * balance


# ---- Weights ---------------------------------------------------------------------------------------------------------

# Names in exports of moec, and here.
RENAMES = (
    ("model.", ""),
    ("block_sparse_moe.", "mlp."),
    ("gate_proj.", "w1."),
    ("up_proj.", "w3."),
    ("down_proj.", "w2."),
)


def read_safetensors(path):
    """{name: tensor}, which lie in the mapped file."""
    with open(path, "rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    n_header = struct.unpack("<Q", data[:8])[0]
    tensors = {}
    for name, entry in json.loads(data[8 : 8 + n_header]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            flat = torch.frombuffer(data, dtype=torch.float32, count=(end - begin) // 4, offset=8 + n_header + begin)
            tensors[name] = flat.view(entry["shape"])
    return tensors


def load(folder, length, balance, is_sorted):
    """The model of an export; every tensor of either side must be in the other."""
    model = Model(Config(folder, balance), length, is_sorted)
    weights = {}
    for name, tensor in read_safetensors(f"{folder}/model.safetensors").items():
        for ours, theirs in RENAMES:
            name = name.replace(ours, theirs)
        weights[name] = tensor
    model.load_state_dict(weights)
    return model


def parameter_groups(model, weight_decay):
    """Norms do not decay."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
