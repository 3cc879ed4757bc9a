"""The comparison of two runs: it must see a row changed by hand, whatever was changed."""

import json
import re

import pytest

from benchmarks import compare
from unires import record

GATES = {"psnr": {"same": 0.01, "kin": 0.1, "other": 0.5}}
MIX = {"MD": 1.2, "DN": -0.2}
DEVICE = {"platform": "cpu", "kind": "cpu", "cores": 2}


@pytest.fixture
def runs(tmp_path):
    """Two equal runs and their gates."""
    rows = [
        record.row("MD", image, "mix", "psnr", value, weights=MIX, unet_calls=16, seconds=1.0)
        for image, value in (("coffee", 21.0), ("rocket", 25.0))
    ]
    rows.append(record.not_run("MD", "coffee", "mix", "musiq", "weights are missing"))
    for name in ("old", "new"):
        record.write_rows(tmp_path / name, "50", rows)
        record.write_run(tmp_path / name, profile="demo", device=DEVICE, finished=True)
    (tmp_path / "gates.toml").write_text("[demo]\npsnr = { same = 0.01, kin = 0.1, other = 0.5 }\n")
    return tmp_path


def verdict(runs, capsys) -> tuple[int, str]:
    words = [str(runs / "old"), str(runs / "new"), "--gates", str(runs / "gates.toml")]
    status = compare.main(words)
    printed = capsys.readouterr()
    return status, printed.out + printed.err


def edit(runs, number: int, **change) -> None:
    """Change one row by hand, in the file."""
    path = runs / "new" / "rows.jsonl"
    lines = path.read_text().splitlines()
    lines[number] = json.dumps({**json.loads(lines[number]), **change})
    path.write_text("\n".join(lines) + "\n")


def test_equal_runs_pass(runs, capsys):
    assert verdict(runs, capsys) == (0, "3 rows compared with 3, same device: 0 breaches\n")


def test_seconds_may_differ(runs, capsys):
    edit(runs, 1, seconds=99.0)
    assert verdict(runs, capsys)[0] == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"value": 21.02}, "21 -> 21.02 (+0.02, allowed 0.01)"),
        ({"unet_calls": 15}, "unet_calls 16 -> 15"),
        ({"weights": {"MD": 1.0}}, 'weights {"DN": -0.2, "MD": 1.2} -> {"MD": 1.0}'),
        ({"status": "not run", "value": None, "reason": "lost"}, "21 -> not run (lost)"),
        ({"severity": 3}, "severity null -> 3"),
    ],
)
def test_a_row_changed_by_hand_fails_and_is_named(runs, capsys, change, said):
    edit(runs, 1, **change)
    status, printed = verdict(runs, capsys)
    assert status == 1
    assert printed.splitlines()[0] == f"50 / MD / coffee / mix / psnr: {said}"
    assert printed.splitlines()[-1].endswith("1 breaches")


def test_a_reason_changed_by_hand_fails(runs, capsys):
    edit(runs, 0, reason="something else")
    status, printed = verdict(runs, capsys)
    assert status == 1 and "musiq: reason" in printed


def test_errors_that_cancel_in_the_mean_are_seen(runs, capsys):
    edit(runs, 1, value=22.0)
    edit(runs, 2, value=24.0)
    status, printed = verdict(runs, capsys)
    assert status == 1 and "2 breaches" in printed


def test_a_renamed_row_is_missing_and_new(runs, capsys):
    edit(runs, 2, image="comet")
    status, printed = verdict(runs, capsys)
    assert status == 1
    assert "50 / MD / rocket / mix / psnr: missing, was 25" in printed
    assert "50 / MD / comet / mix / psnr: new, is 25" in printed


@pytest.mark.parametrize(
    ("change", "within", "beyond", "said"),
    [
        ({"platform": "gpu"}, 21.4, 21.6, "(+0.6, allowed 0.5)"),
        ({"instructions": "X86_V3"}, 21.09, 21.2, "(+0.2, allowed 0.1)"),  # the other run doesn't tell: perhaps a kin
    ],
    ids=["other", "kin"],
)
def test_another_device_has_its_own_gate(runs, capsys, change, within, beyond, said):
    record.write_run(runs / "new", device={**DEVICE, **change})
    edit(runs, 1, value=within)
    assert verdict(runs, capsys)[0] == 0
    edit(runs, 1, value=beyond)
    status, printed = verdict(runs, capsys)
    assert status == 1 and f"21 -> {beyond} {said}" in printed
    (name,) = change
    assert f"the runs also differ in device.{name}: {DEVICE.get(name)} -> {change[name]}" in printed


def test_kin_differ_in_their_cores_alone():
    old, new = ({**DEVICE, "instructions": known} for known in ("X86_V3", "X86_V4"))
    assert compare.likeness(old, old) == "same"
    assert {compare.likeness(old, other) for other in (new, DEVICE, {**old, "cores": 4})} == {"kin"}
    assert compare.likeness(old, {**new, "platform": "gpu"}) == compare.likeness(None, DEVICE) == "other"


def test_near_ties_of_a_search_fall_either_way(runs, capsys):
    """Unless the devices are the same, or most of a method's photos found other weights."""
    edit(runs, 1, value=28.0, weights={"MD": 1.0})
    assert verdict(runs, capsys)[0] == 1
    record.write_run(runs / "new", device={**DEVICE, "platform": "gpu"})
    status, printed = verdict(runs, capsys)
    assert status == 0 and "3 rows compared with 3, 1 of near ties left out, other device" in printed
    edit(runs, 1, weights=None)  # as of a row that was not run
    assert verdict(runs, capsys)[0] == 1
    edit(runs, 1, weights={"MD": 1.0})
    edit(runs, 2, weights={"MD": 1.0})
    status, printed = verdict(runs, capsys)
    assert status == 1 and "(+7, allowed 0.5)" in printed and printed.count('weights {"') == 2


def test_near_ties_are_those_of_half_the_photos_at_most():
    def found(names):
        return {("a", "MD", f"{i}", "search", "psnr", ""): {"weights": {name: 1.0}} for i, name in enumerate(names)}

    for names, count in (("BBAA", 2), ("BBBA", 0), ("BBBB", 0)):
        assert len(compare.near_ties(found("AAAA"), found(names))) == count


def test_a_method_that_is_called_by_its_weights_has_no_ties():
    old, new = ([{**record.row("SR", "x", "SR=1", "psnr", 20, weights={w: 1.0}), "source": "a"}] for w in ("SR", "MD"))
    (breach,) = compare.compare(old, new, GATES, "other")
    assert 'weights {"SR": 1.0} -> {"MD": 1.0}' in breach


@pytest.mark.parametrize("gate", ["nan", "inf", "-1", "'x'"])
def test_a_gate_that_lets_all_through_is_refused(runs, capsys, gate):
    (runs / "gates.toml").write_text(f"[demo]\npsnr = {{ same = {gate}, kin = 0.1, other = 0.5 }}\n")
    status, printed = verdict(runs, capsys)
    assert status == 2 and "a gate of 'psnr' is no number of at least 0" in printed


def test_what_the_runs_were_made_with_is_told_though_no_value_moved(runs, capsys):
    facts = ("config", "checkpoints", "data", "metrics")
    for name, known in (("old", "aa"), ("new", "bb")):
        record.write_run(runs / name, seed=0, versions={"jax": known}, **{fact: {"demo": known} for fact in facts})
    status, printed = verdict(runs, capsys)
    assert status == 0 and "checkpoints.demo: aa -> bb" in printed and "\n3 rows compared" in printed
    assert all(f"the runs also differ in {fact}.demo: aa -> bb\n" in printed for fact in facts)
    assert "versions" not in printed
    record.write_run(runs / "new", seed=7)
    status, printed = verdict(runs, capsys)
    assert status == 2 and "was made with seed none" in printed and "with 7" in printed
    record.write_run(runs / "new", seed=0, parameters={"steps": 9})
    status, printed = verdict(runs, capsys)
    assert status == 2 and "was made with parameters none" in printed and "with {'steps': 9}" in printed


def test_the_worst_comes_first(runs, capsys):
    edit(runs, 0, reason="something else")
    edit(runs, 1, value=21.05)
    edit(runs, 2, value=24.0)
    lines = verdict(runs, capsys)[1].splitlines()
    assert "musiq: reason" in lines[0]
    assert "25 -> 24" in lines[1] and "21 -> 21.05" in lines[2]


def test_a_diff_of_any_two_runs(runs, capsys):
    """Another profile, not finished, no gates; rows that only one of them has."""
    record.write_run(runs / "new", profile="smoke", finished=False)
    edit(runs, 0, status="ok", value=60.0, reason=None)
    edit(runs, 1, value=21.005)
    edit(runs, 2, value=24.0)
    record.write_rows(runs / "new", "60", [record.row("MD", "coffee", "search", "lpips", 0.5)])
    words = [str(runs / "old" / "rows.jsonl"), str(runs / "new"), "--diff"]
    assert compare.main(words) == 0
    assert capsys.readouterr().out.splitlines() == [
        "musiq: 0 of 0 values moved",
        "psnr: 2 of 2 values moved",
        "  -1: 25 -> 24  50 / MD / rocket / mix / psnr",
        "  +0.005: 21 -> 21.005  50 / MD / coffee / mix / psnr",
        "50 / MD / coffee / mix / musiq: not run (weights are missing) -> 60",
        "only in the second: 1 rows, as 60 / MD / coffee / search / lpips",
    ]
    assert compare.main([*words, "--top", "1"]) == 0
    assert "21.005" not in capsys.readouterr().out


def test_a_metric_without_a_gate_is_a_breach():
    row = {**record.row("SR", "x", "LQ", "fid", 3.0), "source": "a"}
    (breach,) = compare.compare([row], [row], GATES, "same")
    assert "no gate for metric 'fid'" in breach


@pytest.mark.parametrize(
    ("facts", "said"),
    [({"finished": False}, "not finished"), ({"profile": "smoke"}, "demo run, .* smoke run")],
)
def test_runs_that_do_not_fit_together_are_refused(runs, capsys, facts, said):
    record.write_run(runs / "new", **facts)
    status, printed = verdict(runs, capsys)
    assert status == 2
    assert re.search(said, printed)


def test_what_is_no_run_is_refused(runs, capsys, tmp_path):
    assert compare.main([str(runs / "old"), str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert compare.main([str(runs / "old"), str(runs / "new"), "--gates", str(tmp_path / "none.toml")]) == 2
    assert "none.toml does not exist" in capsys.readouterr().err


def test_every_profile_has_gates_for_every_metric():
    from unires.metrics import EVERY, METRICS
    from unires.profiles import PROFILES

    assert EVERY.keys() <= compare._gates(compare.GATES, "paper").keys()
    for profile in PROFILES:
        gates = compare._gates(compare.GATES, profile)
        assert METRICS.keys() <= gates.keys()
        assert all(0 <= gate["same"] <= gate["kin"] <= gate["other"] for gate in gates.values())
