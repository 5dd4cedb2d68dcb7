"""Turns a Llama GGUF file into a Hugging Face directory: model.safetensors (F32), config.json, tokenizer.json.

    python3 gguf_to_hf.py MODEL.gguf OUT_DIR

Weights are dequantised by the `gguf` package. GGUF stores the rows of q_proj and k_proj permuted for rotary pairs
(i, i + 1); Hugging Face rotates halves, pairs (i, i + head_dim / 2), so the permutation is undone here.
"""

import json
import os
import sys

import numpy
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

LAYER_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
TOP_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
# The pre-tokenizers of GGUF that this script can express: digits one by one, then GPT-2's byte-level pattern.
KNOWN_PRE_TOKENIZER = "smollm"
CONTROL_TOKEN = 3  # gguf's token type of special tokens


def hf_name(name):
    if name in TOP_NAMES:
        return TOP_NAMES[name]
    block, layer, part, suffix = name.split(".")
    if block != "blk" or suffix != "weight" or part not in LAYER_NAMES:
        sys.exit(f"gguf_to_hf: tensor {name} is not part of a plain Llama model")
    return f"model.layers.{layer}.{LAYER_NAMES[part]}.weight"


def undo_rotary_permutation(weight, n_heads):
    """[heads * (head_dim / 2) * 2, in] -> [heads * 2 * (head_dim / 2), in]"""
    n_rows, n_columns = weight.shape
    pairs = weight.reshape(n_heads, n_rows // n_heads // 2, 2, n_columns)
    return numpy.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(n_rows, n_columns)


def read_tensors(reader, n_heads, n_kv_heads):
    tensors = {}
    for tensor in reader.tensors:
        weight = dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
        weight = weight.reshape([int(n) for n in reversed(tensor.shape)])
        if ".attn_q." in tensor.name:
            weight = undo_rotary_permutation(weight, n_heads)
        elif ".attn_k." in tensor.name:
            weight = undo_rotary_permutation(weight, n_kv_heads)
        tensors[hf_name(tensor.name)] = weight
    return tensors


def build_tokenizer(field):
    if field("tokenizer.ggml.pre") != KNOWN_PRE_TOKENIZER:
        sys.exit(
            f"gguf_to_hf: pre-tokenizer {field('tokenizer.ggml.pre')!r} is not known; expected {KNOWN_PRE_TOKENIZER!r}"
        )
    tokens = field("tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in field("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    types = field("tokenizer.ggml.token_type")
    special = [
        AddedToken(token, special=True, normalized=False) for token, kind in zip(tokens, types) if kind == CONTROL_TOKEN
    ]
    tokenizer.add_special_tokens(special)
    return tokenizer


def build_config(field, tied):
    rope = float(field("llama.rope.freq_base"))
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": field("llama.vocab_size"),
        "hidden_size": field("llama.embedding_length"),
        "intermediate_size": field("llama.feed_forward_length"),
        "num_hidden_layers": field("llama.block_count"),
        "num_attention_heads": field("llama.attention.head_count"),
        "num_key_value_heads": field("llama.attention.head_count_kv"),
        "head_dim": field("llama.rope.dimension_count"),
        "hidden_act": "silu",
        "max_position_embeddings": field("llama.context_length"),
        # GGUF keeps this as a 32-bit float: the shortest decimal that rounds to it is what the model was trained with.
        "rms_norm_eps": float(
            numpy.format_float_scientific(numpy.float32(field("llama.attention.layer_norm_rms_epsilon")))
        ),
        "rope_theta": rope,
        "rope_scaling": None,
        "tie_word_embeddings": tied,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": field("tokenizer.ggml.bos_token_id"),
        "eos_token_id": field("tokenizer.ggml.eos_token_id"),
        "pad_token_id": field("tokenizer.ggml.padding_token_id"),
        "torch_dtype": "float32",
        "dtype": "float32",
    }


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: gguf_to_hf.py MODEL.gguf OUT_DIR")
    source, out = sys.argv[1:]
    reader = GGUFReader(source)

    def field(name):
        if name not in reader.fields:
            sys.exit(f"gguf_to_hf: {source} has no field {name}")
        return reader.fields[name].contents()

    if field("general.architecture") != "llama":
        sys.exit(f"gguf_to_hf: {source} is a {field('general.architecture')} model; expected llama")
    tensors = read_tensors(reader, field("llama.attention.head_count"), field("llama.attention.head_count_kv"))
    os.makedirs(out, exist_ok=True)
    build_tokenizer(field).save(os.path.join(out, "tokenizer.json"))
    with open(os.path.join(out, "config.json"), "w") as file:
        json.dump(build_config(field, "lm_head.weight" not in tensors), file, indent=2)
    # Last, so that a complete file means a complete directory.
    path = os.path.join(out, "model.safetensors")
    save_file(tensors, path + ".tmp", metadata={"format": "pt"})
    os.replace(path + ".tmp", path)


if __name__ == "__main__":
    main()
