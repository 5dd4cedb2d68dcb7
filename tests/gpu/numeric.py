"""Whether a GPU computes what it should: kernels against the interpreter, steps against transformers, PyTorch and the
CPU."""

import array
import json
import os
import random
import re
import shutil

import programs
from machine import Failed, Skipped, read_log

PRECISIONS = ("f32", "bf16")

# ---- Kernels ---------------------------------------------------------------------------------------------------------


def count_forms(outcome, what):
    """{passed, left_out}; fails if a form failed, or none ran."""
    failed = re.findall(r"\[  FAILED  \] (\S+ \d+)", outcome.out + outcome.err)
    passed = re.search(r"\[  PASSED  \] (\d+) test", outcome.out + outcome.err)
    n = int(passed.group(1)) if passed else 0
    if outcome.is_late:
        raise Failed(f"{what}: not done after {outcome.seconds:.0f} s")
    if outcome.code != 0 or failed or n == 0:
        raise Failed(f"{what}: {n} passed, failed: {', '.join(sorted(set(failed))) or 'all'}\n{outcome.tail()}")
    left_out = len(re.findall(r"\[  SKIPPED \] \S+ \d+", outcome.out + outcome.err)) // 2
    return {"passed": n, "left_out": left_out, "seconds": round(outcome.seconds, 1)}


def count_hopper_attention(outcome):
    """Kernels of attention for sm_90a that were compared."""
    return len(re.findall(r"\[       OK \] \S*attention\S* \d+ on sm_90a", outcome.out + outcome.err))


def forms_environment(context, quick_step=24, **more):
    """With --quick every 24th form or so: the software GPU compiles them one by one."""
    step = {"MOEC_FORMS_STEP": str(quick_step)} if context.is_quick else {}
    return {"MOEC_FORMS_ON": "device"} | step | more


def check_kernels(context):
    """The forms of tests/codegen/form_cuda_test.c and form_cuda_attention_test.c, then all kernels of a model."""
    program = context.program("form_cuda_test")
    results = {}
    outcome = context.run([program], 120, **forms_environment(context))
    results["forms"] = count_forms(outcome, "random forms")
    attention = context.program("form_cuda_attention_test")
    outcome = context.run([attention], 90, **forms_environment(context, quick_step=5))
    results["attention"] = count_forms(outcome, "random forms of attention")
    for precision in PRECISIONS:
        module = context.program(f"kernels-{precision}.ir")
        outcome = context.run([program], 90, **forms_environment(context, MOEC_FORMS_MODULE=module))
        results[f"model {precision}"] = count_forms(outcome, f"kernels of a model in {precision}")
        results[f"model {precision}"]["attention_of_wgmma"] = count_hopper_attention(outcome)
    return results


def check_sanitizer(context):
    """compute-sanitizer over the same forms; every third one, since it slows kernels down."""
    sanitizer = find_sanitizer()
    program, results = context.program("form_cuda_test"), {}
    for tool, limit in (("memcheck", 60), ("racecheck", 60)):
        command = [sanitizer, "--tool", tool, "--error-exitcode", "9", "--print-limit", "5", program]
        outcome = context.run(command, limit, MOEC_FORMS_ON="device", MOEC_FORMS_STEP="3")
        if "ot supported" in outcome.out + outcome.err:
            raise Skipped(f"{tool} does not support this machine: {outcome.tail()}")
        results[tool] = count_forms(outcome, tool)
    return results


def find_sanitizer():
    homes = [os.environ.get("CUDA_HOME", ""), "/usr/local/cuda"]
    places = [os.path.join(home, "bin", "compute-sanitizer") for home in homes if home]
    found = shutil.which("compute-sanitizer") or next((place for place in places if os.path.exists(place)), None)
    if not found:
        raise Skipped("compute-sanitizer is not installed")
    return found


# ---- Steps -----------------------------------------------------------------------------------------------------------


def write_tokens(path, n, vocab, code):
    """Tokens with something to learn: each is one of two that follow the one before."""
    ids, token, tokens = random.Random(1), 0, []
    for _ in range(n):
        tokens.append(token)
        token = (token * 5 + 17 + ids.randrange(2) * 3) % vocab
    with open(path, "wb") as file:
        array.array(code, tokens).tofile(file)


def sizes_of(context, name):
    return (programs.QUICK if context.is_quick else programs.NUMERIC)[name][1]


OPTIMIZER = (
    "--lr 1e-3 --warmup 0 --schedule constant --beta1 0.9 --beta2 0.95 --epsilon 1e-5 --weight-decay 0.1 --clip 1"
)


def train(context, program, device, name, arguments, limit):
    """Leaves NAME.jsonl, NAME.safetensors and the folder NAME; returns the log's steps."""
    for path in (context.file(name), context.file(name + ".jsonl"), context.file(name + ".safetensors")):
        shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else os.path.exists(path) and os.remove(path)
    command = [context.program(program), "--device", device, "--log", context.file(name + ".jsonl"), "--quiet"]
    context.run_checked(command + arguments, limit)
    return read_log(context.file(name + ".jsonl"))[1]


def three_steps(context, precision, device, start, tokens):
    name = f"steps-{precision}-{device}"
    arguments = ["--weights", start, "--data", tokens, "--steps", "3", *OPTIMIZER.split()]
    arguments += ["--dump", context.file(name + ".safetensors"), "--export", context.file(name)]
    steps = train(context, f"small-{precision}", device, name, arguments, 60)
    return name, [step["loss"] for step in steps]


def apart(a, b):
    return abs(a - b) / max(abs(a), abs(b))


# Of losses, relative; of gradients' and changed weights' tensors by norm.
CPU_TOLERANCE = {"f32": 1e-4, "bf16": 5e-3}


def check_steps(context):
    """Three AdamW steps of a small Mixtral: losses beside the CPU's; and losses, gradients and weights beside
    transformers', or PyTorch's where that is missing."""
    sizes, results = sizes_of(context, "small"), {}
    tokens, start = context.file("steps.tokens"), context.file("steps.start")
    write_tokens(tokens, sizes["B"] * sizes["T"] + 1, sizes["vocab"], "H")
    shutil.rmtree(start, ignore_errors=True)
    context.run_checked([context.program("small-f32"), "--steps", "0", "--export", start], 60)
    for precision in PRECISIONS:
        name, ours = three_steps(context, precision, "cuda", start, tokens)
        _, theirs = three_steps(context, precision, "cpu", start, tokens)
        worst = max(map(apart, ours, theirs))
        if len(ours) != 3 or not worst <= CPU_TOLERANCE[precision]:
            raise Failed(f"losses in {precision}: {ours}, on the CPU {theirs}")
        results[precision] = {"losses": ours, "cpu_losses": theirs, "worst_against_cpu": worst}
        results[precision]["reference"] = compare_with_reference(context, precision, name, start, tokens, sizes["T"])
    return results


def compare_with_reference(context, precision, name, start, tokens, length):
    if not context.python:
        return {"skipped": "no Python with PyTorch: MOEC_BENCH_PYTHON names one"}
    command = [context.python, os.path.join(os.path.dirname(__file__), "reference.py")]
    command += ["--weights", start, "--tokens", tokens, "--sequence", str(length), "--precision", precision]
    command += ["--dump", context.file(name + ".safetensors"), "--export", context.file(name)]
    outcome = context.run(command, 120)
    try:
        report = json.loads(outcome.out.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise Failed(f"reference.py: exit code {outcome.code}\n{outcome.tail()}") from None
    if not report["passed"]:
        raise Failed(f"{precision}, against {report['side']}: {json.dumps(report, indent=2)}")
    return report


# ---- The curve -------------------------------------------------------------------------------------------------------

# How far the losses may be apart in the first steps, and the mean of the last ones: rounding grows as training goes on.
CURVE_TOLERANCE = {"f32": (1e-3, 0.01), "bf16": (2e-2, 0.02)}
FIRST, LAST = 20, 20


def mean(values):
    return sum(values) / len(values)


def check_curve(context):
    """A model that learns, on the CPU and on the GPU."""
    n_steps, model = (4, "small") if context.is_quick else (200, "curve")
    sizes, results = sizes_of(context, model), {}
    tokens = context.file("curve.tokens")
    write_tokens(tokens, 64 * sizes["B"] * sizes["T"] + 1, sizes.get("vocab", 256), "H")
    for precision in PRECISIONS:
        arguments = ["--data", tokens, "--steps", str(n_steps), "--warmup", "10"]
        curves = {}
        for device in ("cpu", "cuda"):
            name = f"curve-{precision}-{device}"
            curves[device] = [
                step["loss"] for step in train(context, f"{model}-{precision}", device, name, arguments, 60)
            ]
        ours, theirs = curves["cuda"], curves["cpu"]
        first = max(map(apart, ours[:FIRST], theirs[:FIRST]))
        last = apart(mean(ours[-LAST:]), mean(theirs[-LAST:]))
        results[precision] = {"cuda": ours, "cpu": theirs, "worst_of_first": first, "last_means_apart": last}
        first_allowed, last_allowed = CURVE_TOLERANCE[precision]
        if len(ours) != n_steps or not (first <= first_allowed and last <= last_allowed):
            context.write(f"curve-{precision}", results)
            raise Failed(f"{precision}: the first steps are {first:.1e} apart, the means of the last ones {last:.1e}")
        if not context.is_quick and not mean(ours[-LAST:]) < 0.8 * ours[0]:
            raise Failed(f"{precision}: nothing was learnt: {ours[0]} became {mean(ours[-LAST:])}")
    return results
