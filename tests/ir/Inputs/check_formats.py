"""check_formats.py JSON TEXT DOT: JSON and dot against the text of the same module."""
import json
import re
import sys

module = json.load(open(sys.argv[1]))
text = open(sys.argv[2]).read()
dot = open(sys.argv[3]).read()

assert re.match(r"module (\w+)", text).group(1) == module["module"]
states = re.findall(r'^state "(.*?)" (\w+) :', text, re.M)
assert [(s["name"], s["kind"]) for s in module["states"]] == states
assert len(module["scopes"]) == len(re.findall(r"^scope ", text, re.M))
assert len(module["directives"]) == len(re.findall(r"^directive ", text, re.M))

graphs = re.findall(r"^graph (\w+)[^\n]* \{\n(.*?)^\}", text, re.M | re.S)
assert [g["name"] for g in module["graphs"]] == [name for name, _ in graphs]
for graph, (name, body) in zip(module["graphs"], graphs):
    lines = [line.strip() for line in body.splitlines() if line.lstrip().startswith("%")]
    assert [n["op"] for n in graph["nodes"]] == [re.match(r"(?:%[\w.]+(?:, )?)+ = (\w+)", l).group(1) for l in lines]
    defined = set()
    for node in graph["nodes"]:
        assert set(node["operands"]) <= defined
        defined |= {r["value"] for r in node["results"]}
        assert node["flops"] >= 0 and node["bytes"] >= 0
    assert set(graph["outputs"].values()) <= defined
    assert len(graph["attrs"]["offsets"]) == len(defined)
    print(f"{name}: {len(graph['nodes'])} nodes, {len(defined)} values, plan of as many")

# Every name that an edge uses is a node, strings and braces end.
bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', dot, flags=re.S)
assert '"' not in bare.replace('""', "")
assert bare.count("{") == bare.count("}")
nodes = set(re.findall(r"^\s*(?:subgraph \w+ { )?(\w+) \[", bare, re.M))
for a, b in re.findall(r"(\w+) -> (\w+)", bare):
    assert a in nodes and b in nodes, (a, b)
print("dot: balanced")
