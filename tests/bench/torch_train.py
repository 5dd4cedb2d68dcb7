"""Trains the model of torch_model.py, as told: the benchmark's other side.

    torch_train.py --weights EXPORT --data TOKENS --sequence T [--bf16] [--compile] [--sorted-experts]

Reads from standard input how many steps to do next, and answers each with a line of JSON; ends with the input.
"""

import argparse
import array
import json
import os
import sys
import time

import torch


def memory_mib(key):
    """VmRSS, or VmHWM, the most that it was."""
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(key + ":"):
                return int(line.split()[1]) / 1024
    return 0.0


IMPORTED_MIB = memory_mib("VmRSS")

import torch_model  # noqa: E402  (after what importing torch takes was measured)


def parse_arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--sequence", type=int, required=True)
    parser.add_argument("--balance", type=float, default=0.01)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--sorted-experts", action="store_true")
    return parser.parse_args()


def read_tokens(path, length):
    """Inputs and targets, [B, T] each, of a file of u16 with one token more than the inputs."""
    ids = array.array("H")
    with open(path, "rb") as file:
        ids.frombytes(file.read())
    ids = torch.tensor(ids.tolist())
    return ids[:-1].view(-1, length), ids[1:].view(-1, length)


def forget_peak():
    """VmHWM counts from here on, where the system lets it."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass


class Trainer:
    def __init__(self, arguments):
        self.model = torch_model.load(
            arguments.weights, arguments.sequence, arguments.balance, arguments.sorted_experts
        )
        self.optimizer = torch.optim.AdamW(
            torch_model.parameter_groups(self.model, 0.1), lr=arguments.lr, betas=(0.9, 0.95), eps=1e-8, fused=True
        )
        self.tokens, self.targets = read_tokens(arguments.data, arguments.sequence)
        self.is_bf16 = arguments.bf16
        self.forward = torch.compile(self.model) if arguments.compile else self.model

    def step(self):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.is_bf16):
            loss = self.forward(self.tokens, self.targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()

    def run(self, n_steps):
        losses, seconds = [], []
        for _ in range(n_steps):
            start = time.perf_counter()
            losses.append(self.step())
            seconds.append(time.perf_counter() - start)
        return {"losses": losses, "seconds": seconds}


def main():
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    trainer = Trainer(arguments)
    n_parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    print(json.dumps({"torch": torch.__version__, "parameters": n_parameters}), flush=True)
    for line in sys.stdin:
        forget_peak()
        answer = trainer.run(int(line))
        print(json.dumps(answer | {"peak_mib": memory_mib("VmHWM"), "imported_mib": IMPORTED_MIB}), flush=True)


main()
