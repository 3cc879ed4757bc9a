"""The benchmark of complex degradations is complete, and what its manifest says."""

import copy
import json
from collections import Counter

import numpy as np
import pytest

from benchmarks import complex11
from unires.data import HELD_OUT
from unires.degrade import raw
from unires.photo import PhotoError

LINES = complex11.read_manifest()


def test_the_manifest_is_complete():
    assert len(complex11.MIXTURES) == 11  # 6 pairs, 4 triples, 1 of all four
    for size, (_, each) in complex11.CROPS.items():
        counts = Counter((line["mixture"], line["severity"]) for line in LINES if line["crop"][2] == size)
        assert counts == {(m, s): each for m in complex11.MIXTURES for s in complex11.SEVERITIES}
    assert len({line["id"] for line in LINES}) == len(LINES)
    assert {line["photo"] for line in LINES} <= set(HELD_OUT)


def test_the_manifest_is_what_the_seed_draws():
    """Numbers to nine digits, and all but the flawed photo's last bits: another kind of processor rounds otherwise."""

    def told(line):
        line = {name: value for name, value in line.items() if name not in ("lq_sha256", "lq_psnr")}
        return json.loads(json.dumps(line), parse_float=lambda digits: float(f"{float(digits):.9g}"))

    for known, line in zip(LINES[:24], complex11.draw(), strict=False):
        assert line.keys() == known.keys() and told(line) == told(known)
        assert line["lq_psnr"] == pytest.approx(known["lq_psnr"], abs=complex11.ROUNDING)


def test_rebuilt_twice_it_is_the_same_to_the_byte():
    lines = LINES[::7]
    pairs, again = (list(complex11.build(lines)) for _ in range(2))
    assert [(p.x.tobytes(), p.y.tobytes()) for p in pairs] == [(p.x.tobytes(), p.y.tobytes()) for p in again]
    for pair, line in zip(pairs, lines, strict=True):
        assert pair.x.shape == pair.y.shape == (line["crop"][2],) * 2 + (3,)
        assert pair.exact == (complex11.fingerprint(pair.y) == line["lq_sha256"])
        assert complex11.fingerprint(pair.x) != line["lq_sha256"]
    # On the kind of processor that recorded them all are exact, on another about half. None: the flaws have changed.
    assert np.mean([pair.exact for pair in pairs]) > 0.2


def test_rows_and_table():
    pairs = list(complex11.build([line for line in LINES if line["crop"][2] == 256][:8]))  # DD+MD, mild and heavy
    rows = [row for pair in pairs for row in complex11.measure_pair(pair, "LQ", pair.y)]
    table = complex11.by_mixture(rows)
    assert list(table.index) == [("LQ", "DD+MD")]
    for severity in complex11.SEVERITIES:
        psnr = [-10 * np.log10(np.square(p.x - p.y).mean()) for p in pairs if p.severity == severity]
        assert table.loc[("LQ", "DD+MD"), ("psnr", 256, severity)] == pytest.approx(np.mean(psnr), abs=1e-3)
    assert table["lpips", 256, "mild"].item() < table["lpips", 256, "heavy"].item()


def test_a_changed_number_is_noticed():
    for change in ("recipe", "photo"):
        line = copy.deepcopy(LINES[0])
        if change == "recipe":
            next(step for step in line["recipe"]["steps"] if step["op"] == "jpeg")["quality"] -= 50
        else:
            line["photo_sha256"] = "0" * 64
        with pytest.raises(PhotoError, match="Complex11"):
            list(complex11.build([line]))


def test_another_processor_rounds_otherwise(monkeypatch):
    """Light whose last bit differs, and noise that is drawn anew for it, stay within ROUNDING."""
    line = next(line for line in LINES if line["mixture"] == "DD+DN")  # mild: many photons
    (pair,), decode = complex11.build([line]), raw.decode
    monkeypatch.setattr(raw, "decode", lambda x: decode(x) * np.float32(1 + 2**-21))
    (other,) = complex11.build([line])
    assert (other.y != pair.y).any() and not other.exact
    with pytest.raises(PhotoError, match="differs from the recorded one"):
        list(complex11.build([{**line, "lq_psnr": line["lq_psnr"] + 2 * complex11.ROUNDING}]))
