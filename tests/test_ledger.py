"""The ledger: what is written is found again, what was torn is not, and a killed search goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from linear import study

from unires.ledger import MIXED, SAMPLED, Entry, Ledger, mix_of
from unires.score import Score
from unires.search import among, grid, one_hot, surrogate
from unires.tasks import EXPERTS, SR, Expert, with_words

ROOT = Path(__file__).resolve().parents[1]
VECTORS = grid()[::25]  # 61 of 1512
SLOPES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)


def entry(w, **changes) -> Entry:
    fields = {"mix": mix_of(w, EXPERTS), "steps": 3, "kind": SAMPLED, "scores": {"a (1)": 0.25}, "calls": 4}
    return Entry(**{**fields, "seconds": 0.5, **changes})


def test_a_mix_does_not_depend_on_the_list():
    w = np.array([0, 1.2, 0, 0, -0.2, 0], np.float32)
    mix = mix_of(w, EXPERTS)
    assert mix == (("Denoise", 1, -0.2), ("Super-resolution", 1, 1.2))
    assert mix_of(w[[4, 1]], (EXPERTS[4], Expert("another name", SR.prompt))) == mix
    assert mix_of(np.array([1.0]), (Expert("SR", SR.prompt, 8),)) != mix_of(np.array([1.0]), (SR,))
    assert len(mix_of(with_words(w), (*EXPERTS, Expert("p", "good"), Expert("n", "bad")))) == 4


def test_round_trip(tmp_path):
    first = Ledger({"photo": "x", "seed": 0}, tmp_path)
    w = grid()[100]
    first.add(entry(w))
    first.add(entry(w, kind=MIXED, scores={"a (1)": None}, calls=0))
    first.add(entry(w, scores={"b (2)": 7.0}))  # another score of the same mix
    z = np.random.default_rng(0).standard_normal((1, 4, 4, 4)).astype(np.float32)
    first.keep(mix_of(w, EXPERTS), 3, z)
    again = Ledger({"seed": 0, "photo": "x"}, tmp_path)
    assert len(again) == 2
    found = again.get(mix_of(w, EXPERTS), 3)
    assert found.scores == {"a (1)": 0.25, "b (2)": 7.0} and (found.calls, found.seconds) == (4, 0.5)
    assert again.get(mix_of(w, EXPERTS), 3, MIXED).scores == {"a (1)": None}
    assert again.get(mix_of(w, EXPERTS), 2) is None
    np.testing.assert_array_equal(again.latent(mix_of(w, EXPERTS), 3), z)
    assert again.latent(mix_of(w, EXPERTS), 2) is None
    assert len(Ledger({"photo": "x", "seed": 1}, tmp_path)) == 0  # another seed is another story


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_torn_line_is_ignored(tmp_path, cut):
    ledger, vectors = Ledger({"photo": "x"}, tmp_path), grid()[:4]
    for w in vectors[:3]:
        ledger.add(entry(w))
    file = ledger.folder / "scores.jsonl"
    data = file.read_bytes()
    file.write_bytes(data[:-cut])
    again = Ledger({"photo": "x"}, tmp_path)
    assert len(again) == 2 + (cut == 1) and again.get(mix_of(vectors[1], EXPERTS), 3)
    again.add(entry(vectors[3]))
    once_more = Ledger({"photo": "x"}, tmp_path)
    assert len(once_more) == 3 + (cut == 1) and once_more.get(mix_of(vectors[3], EXPERTS), 3)


def contrast(photo) -> float:
    return float(photo.std())


def brightness(photo) -> float:
    return float(photo.mean())


SCORES = [Score("contrast", "1", contrast), Score("brightness", "1", brightness)]


def slow_search(folder: str) -> None:
    """What the child process runs until it is killed."""
    wait = Score("contrast", "1", lambda photo: time.sleep(0.1) or contrast(photo))
    among(study(SLOPES), VECTORS, [wait, SCORES[1]], folder)


def test_a_killed_search_goes_on(tmp_path):
    """Killed without warning in the middle: what was finished is not sampled again, and the choice is the same."""
    code = f"import test_ledger; test_ledger.slow_search({str(tmp_path)!r})"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), "TQDM_DISABLE": "1"}
    child = subprocess.Popen([sys.executable, "-c", code], env=environment, cwd=ROOT)
    file, patience = Ledger(study(SLOPES).identity, tmp_path).folder / "scores.jsonl", time.monotonic() + 80
    try:
        while not file.exists() or file.read_bytes().count(b"\n") < 15:
            assert child.poll() is None and time.monotonic() < patience, "the search never got going"
            time.sleep(0.02)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    file.write_bytes(file.read_bytes() + b'{"mix": [["Denoise", 1')  # the kill came in the middle of a line
    ledger = Ledger(study(SLOPES).identity, tmp_path)
    done = [w for w in VECTORS if ledger.get(mix_of(w, EXPERTS), 3) is not None]
    assert 15 <= len(done) == len(ledger) < len(VECTORS)
    here = study(SLOPES)
    sampled, latents = [], here.latents
    here.latents = lambda vectors, steps: sampled.extend(np.asarray(vectors)) or latents(vectors, steps)
    resumed = among(here, VECTORS, SCORES, tmp_path)
    left = {mix_of(w, EXPERTS) for w in VECTORS} - {mix_of(w, EXPERTS) for w in done}
    assert {mix_of(w, EXPERTS) for w in sampled} >= left and len(sampled) <= len(left) + 1  # 1: the photo of the best
    whole = among(study(SLOPES), VECTORS, SCORES)
    np.testing.assert_array_equal(resumed.weights, whole.weights)
    assert resumed.unet_calls == whole.unet_calls and resumed.paid < whole.paid == whole.unet_calls
    np.testing.assert_allclose(resumed.photo, whole.photo, atol=1e-5)
    by_weights = {line.weights: line.scores for line in resumed.tried}
    for line in whole.tried:
        assert by_weights[line.weights] == pytest.approx(line.scores, rel=1e-5)


def test_strategies_share_what_was_sampled(tmp_path):
    here = study(SLOPES)
    searched = among(here, np.concatenate([one_hot(), VECTORS]), SCORES, tmp_path)
    assert searched.paid == searched.unet_calls > 0
    again = study(SLOPES)
    few = among(again, one_hot(), SCORES, tmp_path)
    guessed = surrogate(again, VECTORS, SCORES, tmp_path, best=5)
    assert few.unet_calls == 6 * 3 and guessed.unet_calls > 6 * 3
    assert few.paid == guessed.paid == 0 == again.paid.unet_calls
    ledger, mixes = Ledger(here.identity, tmp_path), [mix_of(w, EXPERTS) for w in VECTORS]
    assert [ledger.get(mix, 3).calls for mix in mixes] == [2 * len(mix) for mix in mixes]  # the first step is shared
    assert {ledger.get(mix, 3, MIXED).calls for mix in mixes} == {0}
    other = among(again, one_hot(), Score("contrast", "2", contrast), tmp_path)
    assert other.paid == 6 * 3  # a score that nobody asked for before needs the photos
