"""Makes what the tests of executables read, with Python's standard library only.

    python3 make.py FOLDER

Writes dense checkpoints of the models here and of GPT-2, and token files. Every weight is a small whole number times a
power of two, so F32, BF16 and F16 hold the same values.
"""

import json
import os
import random
import struct
import sys

VOCAB, D, LAYERS, FF, HEADS, KV_HEADS = 128, 16, 2, 24, 2, 1
GPT2_VOCAB, POSITIONS = 300, 24
HEAD_DIM = D // HEADS

LLAMA_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": VOCAB,
    "hidden_size": D,
    "intermediate_size": FF,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
}

GPT2_CONFIG = {
    "architectures": ["GPT2LMHeadModel"],
    "model_type": "gpt2",
    "vocab_size": GPT2_VOCAB,
    "n_embd": D,
    "n_layer": LAYERS,
    "n_head": HEADS,
    "n_positions": POSITIONS,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
}


def llama_shapes():
    shapes = {"model.embed_tokens.weight": [VOCAB, D], "lm_head.weight": [VOCAB, D], "model.norm.weight": [D]}
    for layer in range(LAYERS):
        path = f"model.layers.{layer}."
        shapes[path + "input_layernorm.weight"] = [D]
        shapes[path + "post_attention_layernorm.weight"] = [D]
        shapes[path + "self_attn.q_proj.weight"] = [HEADS * HEAD_DIM, D]
        shapes[path + "self_attn.k_proj.weight"] = [KV_HEADS * HEAD_DIM, D]
        shapes[path + "self_attn.v_proj.weight"] = [KV_HEADS * HEAD_DIM, D]
        shapes[path + "self_attn.o_proj.weight"] = [D, HEADS * HEAD_DIM]
        shapes[path + "mlp.gate_proj.weight"] = [FF, D]
        shapes[path + "mlp.up_proj.weight"] = [FF, D]
        shapes[path + "mlp.down_proj.weight"] = [D, FF]
    return shapes


def gpt2_shapes():
    shapes = {"wte.weight": [GPT2_VOCAB, D], "wpe.weight": [POSITIONS, D], "ln_f.weight": [D], "ln_f.bias": [D]}
    for layer in range(LAYERS):
        path = f"h.{layer}."
        shapes |= {
            path + "ln_1.weight": [D],
            path + "ln_1.bias": [D],
            path + "ln_2.weight": [D],
            path + "ln_2.bias": [D],
        }
        shapes |= {path + "attn.c_attn.weight": [D, 3 * D], path + "attn.c_attn.bias": [3 * D]}
        shapes |= {path + "attn.c_proj.weight": [D, D], path + "attn.c_proj.bias": [D]}
        shapes |= {path + "mlp.c_fc.weight": [D, 4 * D], path + "mlp.c_fc.bias": [4 * D]}
        shapes |= {path + "mlp.c_proj.weight": [4 * D, D], path + "mlp.c_proj.bias": [D]}
    return shapes


def draw(shapes, seed):
    """{name: (shape, values)}; norms' scales are about 1, the rest about 0."""
    rng = random.Random(seed)
    tensors = {}
    for name, shape in shapes.items():
        n = shape[0] * (shape[1] if len(shape) > 1 else 1)
        centre = 64 if len(shape) == 1 and name.endswith("weight") else 0
        tensors[name] = (shape, [(centre + rng.randint(-32, 32)) / 64 for _ in range(n)])
    return tensors


ENCODERS = {
    "F32": lambda values: struct.pack(f"<{len(values)}f", *values),
    "F16": lambda values: struct.pack(f"<{len(values)}e", *values),
    "BF16": lambda values: b"".join(struct.pack("<f", value)[2:] for value in values),
}


def write_safetensors(path, tensors, dtype="F32"):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (shape, values) in tensors.items():
        encoded = ENCODERS[dtype](values)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(encoded)]}
        data += encoded
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def write_config(folder, config):
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/config.json", "w") as file:
        json.dump(config, file, indent=2)


def write_model(folder, config, tensors, dtype="F32"):
    write_config(folder, config)
    write_safetensors(f"{folder}/model.safetensors", tensors, dtype)


def write_sharded(folder, config, tensors, n_shards=3):
    write_config(folder, config)
    names, weight_map = sorted(tensors), {}
    for shard in range(n_shards):
        file = f"model-{shard + 1:05}-of-{n_shards:05}.safetensors"
        part = names[shard::n_shards]
        write_safetensors(f"{folder}/{file}", {name: tensors[name] for name in part})
        weight_map |= {name: file for name in part}
    with open(f"{folder}/model.safetensors.index.json", "w") as file:
        json.dump({"metadata": {}, "weight_map": weight_map}, file)


def draw_ids(n, seed):
    """Ids in which the next mostly follows from the last, so that there is something to learn."""
    rng, ids = random.Random(seed), [0]
    while len(ids) < n:
        ids.append((5 * ids[-1] + 3) % VOCAB if rng.random() < 0.9 else rng.randrange(VOCAB))
    return ids


def pack_ids(ids, code):
    return struct.pack(f"<{len(ids)}{code}", *ids)


def write_llmc(path, ids, magic=20240520, version=1, code="H"):
    with open(path, "wb") as file:
        file.write(pack_ids([magic, version, len(ids)] + [0] * 253, "i") + pack_ids(ids, code))


def write_plain(path, ids, code="H"):
    with open(path, "wb") as file:
        file.write(pack_ids(ids, code))


def write_megatron(prefix, ids, n_sequences=7):
    size = -(-len(ids) // n_sequences)
    lengths = [len(ids[i : i + size]) for i in range(0, len(ids), size)]
    pointers = [2 * size * i for i in range(len(lengths))]
    with open(prefix + ".idx", "wb") as file:
        file.write(b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 8, len(lengths), len(lengths) + 1))
        file.write(pack_ids(lengths, "i") + pack_ids(pointers, "q") + pack_ids(range(len(lengths) + 1), "q"))
    write_plain(prefix + ".bin", ids)


SPACE, ABC, END = 94, 96, 97


def write_tokenizer(path):
    """Printable ASCII, each a token, id code - 33; merges make "ab" and "abc"; "<end>" ends a text."""
    vocab = {chr(code): code - 33 for code in range(33, 127)}
    vocab |= {"\u0120": SPACE, "ab": 95, "abc": ABC}
    end = {"id": END, "content": "<end>", "single_word": False, "lstrip": False, "rstrip": False}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [end | {"normalized": False, "special": True}],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "vocab": vocab, "merges": ["a b", "ab c"]},
    }
    with open(path, "w") as file:
        json.dump(tokenizer, file)


def main():
    folder = sys.argv[1]
    llama = draw(llama_shapes(), 1)
    for dtype in ("F32", "F16", "BF16"):
        write_model(f"{folder}/{dtype.lower()}", LLAMA_CONFIG, llama, dtype)
    write_sharded(f"{folder}/sharded", LLAMA_CONFIG, llama)
    write_model(f"{folder}/gpt2", GPT2_CONFIG, draw(gpt2_shapes(), 2))

    write_model(f"{folder}/tokenizer", LLAMA_CONFIG | {"eos_token_id": END}, llama)
    write_tokenizer(f"{folder}/tokenizer/tokenizer.json")
    write_plain(f"{folder}/documents.bin", [ABC, SPACE, ord("x") - 33, END] * 100)
    write_plain(f"{folder}/text.bin", b"moec builds. " * 40)

    ids, more = draw_ids(2000, 3), draw_ids(700, 4)
    write_llmc(f"{folder}/train.bin", ids)
    write_llmc(f"{folder}/llama3.bin", ids, 20240801, 7, "I")
    write_plain(f"{folder}/plain16.bin", ids)
    write_plain(f"{folder}/plain32.bin", ids, "I")
    write_megatron(f"{folder}/megatron", ids)
    write_llmc(f"{folder}/more.bin", more)
    write_llmc(f"{folder}/val.bin", draw_ids(400, 5))


if __name__ == "__main__":
    main()
