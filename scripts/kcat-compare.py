"""Reads the output and the changelog of pv-uv with kcat and compares them with its lines.

usage: kcat-compare.py BROKER LINES
"""

import json
import subprocess
import sys
from datetime import datetime, timezone


def records(broker, topic):
    """Yields key and value of each record, in the order of offsets."""
    command = ["kcat", "-b", broker, "-t", topic, "-C", "-e", "-q", "-f", "%K %S\n%k%s"]
    data = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    at = 0
    while at < len(data):
        end = data.index(b"\n", at)
        key_size, value_size = map(int, data[at:end].split())
        at = end + 1 + key_size
        yield data[end + 1 : at], data[at : at + value_size]
        at += value_size


def row(window, page, value):
    return window, page, value["pv"], value["uv"]


def main(broker, lines):
    listed = subprocess.run(["kcat", "-b", broker, "-L", "-J"], check=True, stdout=subprocess.PIPE).stdout
    topics = [t["topic"] for t in json.loads(listed)["topics"]]
    with open(lines, encoding="utf-8") as f:
        want = {row(v["window"], v["page"], v) for v in map(json.loads, f)}
    output = next(t for t in topics if t.endswith("-output"))
    newest = {key: json.loads(value) for key, value in records(broker, output)}
    got = {row(v["window"], v["page"], v) for v in newest.values()}
    assert got == want, f"{output}: {len(got)} rows, {len(want)} lines, {len(got ^ want)} differ"
    changelog = next(t for t in topics if t.endswith("-changelog"))
    newest = dict(records(broker, changelog))
    got = set()
    for key, value in newest.items():
        start = int.from_bytes(key[-12:-4], "big")  # page, start of the window, sequence number
        window = datetime.fromtimestamp(start / 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        got.add(row(window, key[:-12].decode(), json.loads(value)))
    assert got == want, f"{changelog}: {len(got)} rows, {len(want)} lines, {len(got ^ want)} differ"
    print(f"kcat reads the same {len(want)} rows from {output} and {changelog}")


main(*sys.argv[1:])
