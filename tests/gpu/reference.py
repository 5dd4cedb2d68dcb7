"""Three AdamW steps of an exported model in transformers, or in PyTorch where that is missing, beside what an executable
made of them.

    reference.py --weights START --tokens FILE --sequence T --precision f32|bf16 --dump FILE --export DIR

Prints a line of JSON, how far losses, gradients and weights are apart. The reference is computed in float64. In bf16 the
same model is also run under autocast, on a GPU where there is one: what that is off by is what bf16 costs, and twice as
much is allowed here.
"""

import argparse
import array
import json
import os
import sys

import torch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bench"))
import torch_model  # noqa: E402

STEPS, LR, BETAS, EPSILON, DECAY, CLIP, BALANCE = 3, 1e-3, (0.9, 0.95), 1e-5, 0.1, 1.0, 0.01

# By norm, relative: of losses, of each gradient, of what the steps changed in each weight. Of bf16 what is always
# allowed.
TOLERANCE = {"f32": (1e-5, 1e-3, 1e-2), "bf16": (1e-3, 1e-2, 5e-2)}


def parse_arguments():
    parser = argparse.ArgumentParser()
    for name in ("weights", "tokens", "dump", "export"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--sequence", type=int, required=True)
    parser.add_argument("--precision", choices=("f32", "bf16"), required=True)
    return parser.parse_args()


# ---- The two sides ---------------------------------------------------------------------------------------------------

# Names of weights in exports, and in programs.
EXPORT_NAMES = (("block_sparse_moe.", "mlp."), ("w1.", "gate_proj."), ("w2.", "down_proj."), ("w3.", "up_proj."))


def our_name(name):
    """model.layers.0.block_sparse_moe.experts.3.w1.weight: (model.layers.0.mlp.gate_proj.weight, 3)"""
    for theirs, ours in EXPORT_NAMES:
        name = name.replace(theirs, ours)
    front, found, back = name.partition(".experts.")
    if not found:
        return name, None
    expert, _, rest = back.partition(".")
    return f"{front}.experts.{rest}", int(expert)


def read_export(folder):
    """{name of an exported tensor: tensor}"""
    return torch_model.read_safetensors(os.path.join(folder, "model.safetensors"))


class Transformers:
    name = "transformers"

    def __init__(self, folder):
        import transformers
        from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

        self.version, self.balance_of = transformers.__version__, load_balancing_loss_func
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager"
        )

    def loss(self, tokens, targets):
        config = self.model.config
        output = self.model(tokens, output_router_logits=True)
        nll = torch.nn.functional.cross_entropy(output.logits.flatten(0, 1), targets.flatten())
        balance = sum(
            self.balance_of((router,), config.num_local_experts, config.num_experts_per_tok)
            for router in output.router_logits
        )
        return nll + BALANCE * balance / config.num_experts_per_tok

    def exported(self, value_of):
        """{exported name: value} of all parameters."""
        values = {}
        for name, parameter in self.model.named_parameters():
            value = value_of(parameter)
            base = name.replace("mlp.", "block_sparse_moe.")
            if name.endswith("gate_up_proj"):
                for e, (gate, up) in enumerate(zip(*value.chunk(2, dim=1))):
                    values[base.replace("gate_up_proj", f"{e}.w1.weight")] = gate
                    values[base.replace("gate_up_proj", f"{e}.w3.weight")] = up
            elif name.endswith("experts.down_proj"):
                for e, down in enumerate(value):
                    values[base.replace("down_proj", f"{e}.w2.weight")] = down
            else:
                values[base] = value
        return values


class Plain:
    name = "PyTorch"

    def __init__(self, folder, length):
        self.version = torch.__version__
        self.model = torch_model.load(folder, length, BALANCE, is_sorted=False)

    def loss(self, tokens, targets):
        return self.model(tokens, targets)

    def exported(self, value_of):
        values = {}
        for name, parameter in self.model.named_parameters():
            values["model." + name.replace("mlp.", "block_sparse_moe.")] = value_of(parameter)
        return values


def open_side(arguments):
    try:
        return Transformers(arguments.weights)
    except ImportError:
        return Plain(arguments.weights, arguments.sequence)


# ---- Steps -----------------------------------------------------------------------------------------------------------


def read_tokens(path, length, device):
    ids = array.array("H")
    with open(path, "rb") as file:
        ids.frombytes(file.read())
    ids = torch.tensor(ids.tolist(), device=device)
    return ids[:-1].view(-1, length), ids[1:].view(-1, length)


def run_steps(arguments, device, dtype, is_autocast):
    """(losses, first gradients, weights after all steps), by exported names, in float64 on the CPU."""
    side = open_side(arguments)
    side.model.to(device=device, dtype=dtype)
    tokens, targets = read_tokens(arguments.tokens, arguments.sequence, device)
    optimizer = torch.optim.AdamW(torch_model.parameter_groups(side.model, DECAY), lr=LR, betas=BETAS, eps=EPSILON)
    losses, gradients = [], None
    for _ in range(STEPS):
        optimizer.zero_grad()
        with torch.autocast(device, dtype=torch.bfloat16, enabled=is_autocast):
            loss = side.loss(tokens, targets)
        loss.backward()
        losses.append(loss.item())
        if gradients is None:
            gradients = side.exported(lambda parameter: parameter.grad.detach().double().cpu().clone())
        torch.nn.utils.clip_grad_norm_(side.model.parameters(), CLIP)
        optimizer.step()
    return losses, gradients, side.exported(lambda parameter: parameter.detach().double().cpu().clone()), side


# ---- Comparing -------------------------------------------------------------------------------------------------------


def distance(actual, expected):
    """By norm, relative; two tensors of zeros are equal."""
    scale = expected.norm()
    return ((actual - expected).norm() / scale if scale > 0 else actual.norm()).item()


def worst(pairs):
    """(distance, name) of the pair that is furthest apart, NaN before all."""
    found = [(distance(actual, expected), name) for name, actual, expected in pairs]
    return max(found, key=lambda entry: (entry[0] != entry[0], entry[0]))


def errors_of(losses, gradients, weights, expected, start):
    expected_losses, expected_gradients, expected_weights = expected
    return {
        "loss": [max(abs(a - b) / abs(b) for a, b in zip(losses, expected_losses)), "loss"],
        "gradient": worst((name, gradients[name], value) for name, value in expected_gradients.items()),
        "change": worst(
            (name, weights[name] - start[name], value - start[name]) for name, value in expected_weights.items()
        ),
    }


def our_results(arguments, names):
    """The executable's, by exported names."""
    dump = torch_model.read_safetensors(arguments.dump)
    gradients = {}
    for name in names:
        ours, expert = our_name(name)
        whole = dump["grad:" + ours] if "grad:" + ours in dump else dump["grad:" + ours.replace(".experts.", ".")]
        gradients[name] = (whole if expert is None else whole[expert]).double()
    weights = {name: tensor.double() for name, tensor in read_export(arguments.export).items()}
    return [dump[f"loss.{step}"].item() for step in range(STEPS)], gradients, weights


def main():
    arguments = parse_arguments()
    torch.manual_seed(0)
    start = {name: tensor.double().clone() for name, tensor in read_export(arguments.weights).items()}
    *expected, side = run_steps(arguments, "cpu", torch.float64, False)
    report = {"side": f"{side.name} {side.version}"}
    allowed = dict(zip(("loss", "gradient", "change"), TOLERANCE[arguments.precision]))
    report["errors"] = errors_of(*our_results(arguments, expected[1]), expected, start)
    if arguments.precision == "bf16":
        device = "cuda" if torch.cuda.is_available() else "cpu"
        *autocast, _ = run_steps(arguments, device, torch.float32, True)
        report["autocast"], report["autocast_device"] = errors_of(*autocast, expected, start), device
        allowed = {key: max(value, 2 * report["autocast"][key][0]) for key, value in allowed.items()}
    report["allowed"] = allowed
    report["passed"] = all(report["errors"][key][0] <= allowed[key] for key in allowed)
    print(json.dumps(report))


main()
