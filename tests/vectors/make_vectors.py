"""Makes the reference vectors of tests/vectors with Hugging Face transformers.

    python3 make_vectors.py [CASE...]        (needs torch, transformers, safetensors, numpy)

For each case: CASE/weights/ (a Hugging Face directory in the names that moec exports), CASE/tokens.bin (llm.c format,
B windows of T + 1 tokens that overlap by one), CASE/expected.safetensors: nll, loss, logits of the first T tokens, the
gradient of every weight ("grad:NAME", by moec's names of weights); CASE/after.safetensors: every weight after three
AdamW steps. The model runs in float64, so that what differs is moec's own rounding.

The cases of MODELS are the dense models of models/*.moe at small sizes; their CASE.test is written too.
"""

import os
import shutil
import sys

import numpy
import torch
from safetensors.torch import save_file
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Qwen2Config,
    Qwen3Config,
)
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

HERE = os.path.dirname(os.path.abspath(__file__))
STEPS, LR, BETAS, EPSILON, DECAY, CLIP, BALANCE = 3, 1e-3, (0.9, 0.95), 1e-5, 0.1, 1.0, 0.02

# Tables, laid out by hand.
# fmt: off
COMMON = dict(hidden_act="silu", rms_norm_eps=1e-5, max_position_embeddings=128, attention_dropout=0.0)
LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
DEFAULT_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
# Odd on purpose: T = 17, sizes that no vector width divides, grouped queries, head_dim other than hidden / heads.
CASES = {
    "llama_tied": (LlamaConfig, dict(vocab_size=61, hidden_size=24, intermediate_size=40, num_hidden_layers=2,
                   num_attention_heads=4, num_key_value_heads=2, head_dim=6, tie_word_embeddings=True,
                   rope_parameters=DEFAULT_ROPE), 2, 17),
    "llama3_rope": (LlamaConfig, dict(vocab_size=53, hidden_size=30, intermediate_size=36, num_hidden_layers=3,
                    num_attention_heads=6, num_key_value_heads=3, head_dim=8, tie_word_embeddings=False,
                    rope_parameters=LLAMA3_ROPE), 1, 23),
    "mixtral_e5k3": (MixtralConfig, dict(vocab_size=61, hidden_size=24, intermediate_size=28, num_hidden_layers=2,
                     num_attention_heads=4, num_key_value_heads=1, head_dim=6, tie_word_embeddings=False,
                     num_local_experts=5, num_experts_per_tok=3, sliding_window=None,
                     rope_parameters=DEFAULT_ROPE), 2, 17),
    "mixtral_e8k2_tied": (MixtralConfig, dict(vocab_size=47, hidden_size=16, intermediate_size=20,
                          num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, head_dim=10,
                          tie_word_embeddings=True, num_local_experts=8, num_experts_per_tok=2,
                          sliding_window=None, rope_parameters=DEFAULT_ROPE), 3, 11),
}

# What the sizes of a .moe file are called in a config.json.
SIZES = {"vocab": "vocab_size", "d": "hidden_size", "layers": "num_hidden_layers", "ff": "intermediate_size",
         "heads": "num_attention_heads", "kv_heads": "num_key_value_heads", "head_dim": "head_dim"}
GPT2_SIZES = {"vocab": "vocab_size", "d": "n_embd", "layers": "n_layer", "heads": "n_head", "positions": "n_positions"}
SMALL = dict(vocab_size=41, hidden_size=24, intermediate_size=28, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, head_dim=6, attention_dropout=0.0)
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def rope(theta):
    return {"rope_type": "default", "rope_theta": theta}


# Model file: config class, settings, sizes. The settings that no size stands for are those of the real checkpoint.
MODELS = {
    "llama3_8b_e8t2": (LlamaConfig, SMALL | dict(rms_norm_eps=1e-5, rope_parameters=rope(500000.0),
                       max_position_embeddings=8192, tie_word_embeddings=False), SIZES),
    "llama3_1b_e8t2": (LlamaConfig, SMALL | dict(rms_norm_eps=1e-5, rope_parameters=LLAMA3,
                       max_position_embeddings=131072, tie_word_embeddings=True), SIZES),
    "smollm2_135m_e8t2": (LlamaConfig, SMALL | dict(rms_norm_eps=1e-5, rope_parameters=rope(100000.0),
                          max_position_embeddings=8192, tie_word_embeddings=True), SIZES),
    "mistral_7b_e8t2": (MistralConfig, SMALL | dict(rms_norm_eps=1e-5, rope_parameters=rope(1000000.0),
                        max_position_embeddings=32768, sliding_window=None, tie_word_embeddings=False), SIZES),
    "qwen2_0_5b_e8t2": (Qwen2Config, SMALL | dict(rms_norm_eps=1e-6, rope_parameters=rope(1000000.0),
                        max_position_embeddings=32768, tie_word_embeddings=True), SIZES),
    "qwen3_0_6b_e8t2": (Qwen3Config, SMALL | dict(rms_norm_eps=1e-6, rope_parameters=rope(1000000.0),
                        max_position_embeddings=40960, tie_word_embeddings=True), SIZES),
    # Without a padding token: torch gives the embedding of one no gradient.
    "gemma_2b_e8t2": (GemmaConfig, SMALL | dict(rms_norm_eps=1e-6, rope_parameters=rope(10000.0), pad_token_id=None,
                      max_position_embeddings=8192, tie_word_embeddings=True), SIZES),
    "gpt2_e8t2": (GPT2Config, dict(vocab_size=41, n_embd=24, n_layer=2, n_head=4, n_positions=32, resid_pdrop=0.0,
                  embd_pdrop=0.0, attn_pdrop=0.0), GPT2_SIZES),
}
# fmt: on
MODEL_BATCH, MODEL_LENGTH = 2, 13
MODEL_TEST = """The dense model of models/{model}.moe at small sizes: loss, logits, every gradient, and every weight after three
AdamW steps, as transformers computes them.
RUN: rm -rf %t && mkdir -p %t
RUN: moec build %root/models/{model}.moe --dense {defines} -o %t/train --quiet
RUN: %t/train --weights %S/{case}/weights --data %S/{case}/tokens.bin --steps {steps} --global-batch {batch} --schedule constant --warmup 0 --lr {lr} --beta1 {betas[0]} --beta2 {betas[1]} --epsilon {epsilon} --weight-decay {decay} --clip {clip} --dump %t/dump.safetensors --export %t/export --quiet
RUN: python3 %S/compare.py %S/{case}/expected.safetensors %t/dump.safetensors 1e-5
RUN: python3 %S/compare.py %S/{case}/after.safetensors %t/export/model.safetensors 1e-5
"""


def write_model_test(case, model, config, sizes):
    values = {"B": MODEL_BATCH, "T": MODEL_LENGTH} | {size: getattr(config, key) for size, key in sizes.items()}
    text = MODEL_TEST.format(
        model=model,
        case=case,
        defines=" ".join(f"-D {name}={value}" for name, value in values.items()),
        steps=STEPS,
        batch=MODEL_BATCH,
        lr=LR,
        betas=BETAS,
        epsilon=EPSILON,
        decay=DECAY,
        clip=CLIP,
    )
    with open(os.path.join(HERE, case + ".test"), "w") as file:
        file.write(text)


def moec_tensors(model, config, values):
    """Name of moec's weight -> tensor, from `values`, a map of transformers' parameter names to tensors."""
    out = {}
    for name, value in values.items():
        if name.endswith("mlp.experts.gate_up_proj"):
            base = name.removesuffix("gate_up_proj")
            out[base + "gate_proj.weight"] = value[:, : config.intermediate_size]
            out[base + "up_proj.weight"] = value[:, config.intermediate_size :]
        elif name.endswith("mlp.experts.down_proj"):
            out[name + ".weight"] = value
        else:
            out[name] = value
    return {name: value.detach().to(torch.float32).contiguous().clone() for name, value in out.items()}


def losses(model, config, inputs, targets):
    moe = isinstance(config, MixtralConfig)
    output = model(inputs, **({"output_router_logits": True} if moe else {}))
    nll = torch.nn.functional.cross_entropy(output.logits.flatten(0, 1), targets.flatten())
    if not moe:
        return output.logits, nll, nll
    # transformers' sum over choices counts every slot once: divided by k it is the share of slots, 1 when balanced.
    balance = (
        sum(
            load_balancing_loss_func((router,), config.num_local_experts, config.num_experts_per_tok)
            for router in output.router_logits
        )
        / config.num_experts_per_tok
    )
    return output.logits, nll, nll + BALANCE * balance


def write_tokens(path, tokens):
    header = numpy.zeros(256, dtype=numpy.int32)
    header[:3] = 20240520, 1, len(tokens)
    with open(path, "wb") as file:
        file.write(header.tobytes() + tokens.astype(numpy.uint16).tobytes())


def make_case(name):
    model_file = name.removeprefix("model_") if name.startswith("model_") else None
    if model_file:
        config_class, settings, sizes = MODELS[model_file]
        batch, length = MODEL_BATCH, MODEL_LENGTH
    else:
        config_class, settings, batch, length = CASES[name]
        settings = COMMON | settings
    folder = os.path.join(HERE, name)
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(sum(map(ord, name)))
    config = config_class(**settings, attn_implementation="eager", experts_implementation="eager")
    if model_file:
        write_model_test(name, model_file, config, sizes)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            # Larger than usual, so that no expert is a near tie and no gradient is near Adam's epsilon.
            parameter.copy_(torch.randn_like(parameter) * 0.2 + (1.0 if parameter.ndim == 1 else 0.0))
    model.save_pretrained(os.path.join(folder, "weights"))
    model = model.double()

    tokens = numpy.random.default_rng(7).integers(0, config.vocab_size, batch * length + 1)
    write_tokens(os.path.join(folder, "tokens.bin"), tokens)
    inputs = torch.tensor(tokens[:-1].reshape(batch, length))
    targets = torch.tensor(tokens[1:].reshape(batch, length))

    decayed = [p for p in model.parameters() if p.ndim >= 2]
    plain = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": DECAY}, {"params": plain, "weight_decay": 0.0}],
        lr=LR,
        betas=BETAS,
        eps=EPSILON,
    )
    expected = {}
    for step in range(STEPS):
        optimizer.zero_grad()
        logits, nll, loss = losses(model, config, inputs, targets)
        loss.backward()
        if step == 0:
            expected["logits"] = logits[:1].detach().float().contiguous()
            expected["nll"] = nll.detach().float().reshape(())
            gradients = {n: p.grad for n, p in model.named_parameters()}
            expected |= {"grad:" + n: g for n, g in moec_tensors(model, config, gradients).items()}
        expected[f"loss.{step}"] = loss.detach().float().reshape(())
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
    model.float().save_pretrained(os.path.join(folder, "after"))
    os.replace(os.path.join(folder, "after", "model.safetensors"), os.path.join(folder, "after.safetensors"))
    shutil.rmtree(os.path.join(folder, "after"))
    save_file(expected, os.path.join(folder, "expected.safetensors"))
    print(name, {key: round(float(value), 6) for key, value in expected.items() if value.ndim == 0})


for case in sys.argv[1:] or [*CASES, *("model_" + model for model in MODELS)]:
    make_case(case)
