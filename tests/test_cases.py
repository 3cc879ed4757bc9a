"""Crops to search on are varied, and no part shares a photo with another."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import cases
from unires.data import HELD_OUT, Photos, held_out_paths, sha256, texture
from unires.photo import PhotoError


def starts_with_0(path) -> bool:
    return hashlib.sha256(path.read_bytes()).hexdigest()[0] == "0"


def test_the_test_cases_are_varied():
    found = cases.held_out_cases(8, 96)
    assert {case.photo for case in found[:7]} == set(HELD_OUT) and len({case.image for case in found}) == 8
    assert len({case.mixture for case in found}) == 8 and {case.severity for case in found} == {"mild", "heavy"}
    assert {len(case.mixture.split("+")) for case in found} == {2, 3, 4}
    again = cases.held_out_cases(8, 96)
    assert [case.story for case in again] == [case.story for case in found]
    for case in found[:2]:
        assert case.sha256 == sha256(held_out_paths()[case.photo]) and np.abs(case.x - case.y).mean() > 0.01
    one, other = (cases.flawed(found[0].x, 1, "stablesr", part)[2] for part in (0, 1))
    assert not np.array_equal(one, other)
    with pytest.raises(ValueError, match="15 asked for"):
        cases.held_out_cases(15, 96)


def test_the_split_shares_no_photo(forty_photos):
    test, learn = cases.held_out_cases(8, 64), list(cases.folder_cases(forty_photos, 6, 64))
    cases.refuse_shared(test, learn, forty_photos)
    expected = {path.name for path in forty_photos.iterdir() if starts_with_0(path)}
    assert {case.photo for case in learn} <= expected and len(expected) > 0
    trained = set(Photos.read(forty_photos, 32).names)
    assert not trained & {case.photo for case in learn}
    assert not {case.sha256 for case in test} & {case.sha256 for case in learn}
    assert len({case.image for case in learn}) == 6 and len({case.mixture for case in learn}) == 6


def test_of_eight_places_the_most_textured_is_taken(forty_photos, monkeypatch):
    seen = []
    monkeypatch.setattr(cases, "texture", lambda x: seen.append(texture(x)) or seen[-1])
    found = list(cases.folder_cases(forty_photos, 3, 32))
    assert [texture(case.x) for case in found] == [max(seen[i : i + 8]) for i in (0, 8, 16)] and len(seen) == 24


def test_a_shared_photo_is_refused(forty_photos, tmp_path):
    test, learn = cases.held_out_cases(2, 64), list(cases.folder_cases(forty_photos, 2, 64))
    with pytest.raises(PhotoError, match=f"test photos {test[0].photo} are also learn photos"):
        cases.refuse_shared(test, [replace(learn[0], sha256=test[0].sha256)], forty_photos)
    (trained, *_) = (path for path in sorted(forty_photos.iterdir()) if not starts_with_0(path))
    with pytest.raises(PhotoError, match="also training photos"):
        cases.refuse_shared(test, [replace(learn[0], sha256=sha256(trained))], forty_photos)
    with pytest.raises(PhotoError, match="also training photos"):
        cases.refuse_shared([replace(test[0], sha256=sha256(trained))], learn, forty_photos)
    (tmp_path / "x.png").write_bytes(held_out_paths()["chelsea"].read_bytes())
    with pytest.raises(PhotoError, match="held-out photo chelsea"):
        list(cases.folder_cases(tmp_path, 1, 64))


def test_a_checkpoint_that_saw_the_learning_photos_is_known(forty_photos):
    assert cases.unseen({"photos": {"manifest": Photos.read(forty_photos, 32).manifest}}, forty_photos)
    everything = sorted(sha256(path) for path in forty_photos.iterdir())
    whole = hashlib.sha256("\n".join(everything).encode()).hexdigest()
    assert not cases.unseen({"photos": {"manifest": whole}}, forty_photos)
    assert not cases.unseen({"photos": "none: random weights"}, forty_photos)
    assert not cases.unseen(
        {"sources": [{"name": "LSDIR"}]}, forty_photos
    )  # fine-tuned on sources: its story has no photos
