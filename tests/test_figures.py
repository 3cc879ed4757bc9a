"""Every figure of the paper has a function that draws it, and what is drawn is what the rows and photos hold."""

import ast
import inspect
from itertools import combinations, permutations
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest

from benchmarks import figures, pair
from benchmarks.figures import photos as photo_figures
from benchmarks.figures.curves import pair_line
from unires.metrics import METRICS
from unires.record import not_run, row
from unires.search import grid
from unires.tasks import NAMES, weights_vector

PLACES = [("complex", "a"), ("complex", "b"), ("MD", "a")]
WALK = {f"SR={w:.1f} DN={1 - w:.1f}": {"SR": w, "DN": 1 - w} for w in (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def photo(n, h=16, w=24):
    return np.random.default_rng(n).uniform(0, 1, (h, w, 3)).astype(np.float32)


def value(place, method, metric, number, **about):
    return row(*place, method, metric, number, variant=METRICS[metric].variant, **about)


@pytest.fixture
def rows():
    """LPIPS of three photos by LQ and two methods; BR harms ("complex", "b") most and helps ("MD", "a")."""
    found = []
    for place, numbers in zip(PLACES, ((0.5, 0.51, 0.4), (0.5, 0.7, 0.3), (0.5, 0.2, 0.6)), strict=True):
        for method, number in zip(("LQ", "BR=1", "MD=1"), numbers, strict=True):
            found.append(value(place, method, "lpips", number))
    found.append(row(*PLACES[0], "BR=1", "lpips", 0.999, variant="another network"))  # must not be shown
    return [*found, not_run(*PLACES[0], "HQ", "lpips", "nothing to compare", variant=METRICS["lpips"].variant)]


def lines(methods):
    names = ("LQ", *methods, "HQ")
    return {place: {m: photo(10 * i + j) for j, m in enumerate(names)} for i, place in enumerate(PLACES)}


def drawn_photos(figure):
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes]


def told(figure):
    return [axes.texts[0].get_text() if axes.texts else "" for axes in figure.axes]


def test_every_figure_of_the_paper_has_a_function_and_a_notebook():
    assert set(figures.PAPER_FIGURES) == {1, *range(3, 14)}
    sources = {path.stem: path.read_text() for path in pair.find()}
    for number, one in figures.PAPER_FIGURES.items():
        name = one.draw.__name__
        assert getattr(figures, name) is one.draw, number
        assert f'"{one.file}"' in sources[one.notebook], f"Figure {number}: {one.notebook} saves no {one.file}"
        calls = {node.func.id for node in ast.walk(ast.parse(sources[one.notebook]))
                 if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}  # fmt: skip
        assert name in calls, f"Figure {number}: {one.notebook} does not call {name}"
        assert "Paper:" in inspect.getdoc(one.draw) and "Figure" in inspect.getdoc(one.draw)
    files = [one.file for one in figures.PAPER_FIGURES.values()]
    assert len(set(files)) == len(files)


def test_values_stand_in_their_own_photos(rows):
    shown = lines(("BR=1", "MD=1"))
    figure = figures.side_by_side(rows, shown, names=["x", "y", "z"])
    assert len(figure.axes) == 12
    for found, given in zip(drawn_photos(figure), [p for line in shown.values() for p in line.values()], strict=True):
        assert np.array_equal(found, given)
    expected = ["0.500", "0.510", "0.400", "", "0.500", "0.700", "0.300", "", "0.500", "0.200", "0.600", ""]
    assert told(figure) == [f"LPIPS {number}" if number else "" for number in expected]
    assert [axes.get_title() for axes in figure.axes[:4]] == ["LQ", "BR=1", "MD=1", "HQ"]
    assert [figure.axes[i].get_ylabel() for i in (0, 4, 8)] == ["x", "y", "z"]
    first = dict(list(shown.items())[:1])
    choices = figures.judges_choices(rows, first, ["LQ", "one:\nBR=1", "two", "HQ"])
    assert len(choices.axes) == 8 and told(choices)[:4] == told(figure)[:4] and not any(told(choices)[4:])


def test_failure_cases_are_found_by_rows(rows):
    assert figures.most_harmed(rows, "BR=1") == [("complex", "b"), ("complex", "a")]
    assert figures.most_harmed(rows, "BR=1", count=1) == [("complex", "b")]
    assert figures.most_harmed(rows, "MD=1") == [("MD", "a")]
    assert figures.most_harmed(rows, "nobody") == []
    psnr = [value(PLACES[0], method, "psnr", number) for method, number in (("LQ", 20.0), ("BR=1", 19.0), ("up", 21.0))]
    assert figures.most_harmed(psnr, "BR=1", "psnr") == [PLACES[0]] and figures.most_harmed(psnr, "up", "psnr") == []
    shown = {place: line for place, line in lines(("BR=1",)).items() if place == ("complex", "b")}
    figure = figures.failure_cases([*rows, value(PLACES[1], "BR=1", "psnr", 19.04)], shown)
    assert [axes.get_title() for axes in figure.axes] == ["LQ", "BR=1", "HQ"]
    assert told(figure) == ["LPIPS 0.500", "LPIPS 0.700\nPSNR 19.0", ""]


def test_the_dial_has_a_column_for_each_factor():
    shown, restored = ({f: photo(f + n) for f in (1, 2, 4, 8, 16)} for n in (0, 100))
    figure = figures.down_lq_dial(shown, restored, photo(7))
    assert [axes.get_title() for axes in figure.axes[:6]] == [*(f"factor {f}" for f in (1, 2, 4, 8, 16)), "HQ"]
    for found, given in zip(
        drawn_photos(figure), [*shown.values(), photo(7), *restored.values(), photo(7)], strict=True
    ):
        assert np.array_equal(found, given)
    with pytest.raises(ValueError, match=r"shown has the factors \[1, 2\]"):
        figures.down_lq_dial({1: photo(1), 2: photo(2)}, {1: photo(1)}, photo(7))


def test_names_of_near_points_do_not_cover_each_other():
    points = {f"method {n}": (1 + 0.01 * n, 0.5) for n in range(5)} | {"far to the right": (2.0, 0.4)}
    figure, axis = plt.subplots(layout="constrained")
    axis.scatter(*zip(*points.values(), strict=True))
    axis.set(xscale="log", ylim=(0.6, 0.3))
    texts = figures.label_points(axis, points)
    figure.draw_without_rendering()
    assert [text.get_text() for text in texts] == list(points)
    boxes = [text.get_window_extent() for text in texts]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert all(axis.bbox.contains(*box.min) and axis.bbox.contains(*box.max) for box in boxes)
    far = [points[text.get_text()] for text in texts if max(map(abs, text.get_position())) > 6]
    tied = [note.xy for note in axis.texts if not note.get_text() and note.arrow_patch is not None]
    assert tied == far != []


@pytest.mark.parametrize("times", [2, 4])
def test_the_middle_is_as_large_as_the_whole(times):
    x = photo(3)
    middle = figures.enlarged_middle(x, times)
    assert middle.shape == x.shape
    h, w = (side // times for side in x.shape[:2])
    top, left = (x.shape[0] - h) // 2, (x.shape[1] - w) // 2
    assert np.array_equal(middle[::times, ::times], x[top : top + h, left : left + w])
    assert np.array_equal(middle[0, :times], np.repeat(middle[:1, 0], times, 0))
    if times == 4:
        walk = {method: photo(i) for i, method in enumerate(WALK)}
        figure = figures.expert_composition([value(PLACES[0], "SR=0.8 DN=0.2", "lpips", 0.25)], {PLACES[0]: walk})
        assert len(figure.axes) == 12 and told(figure)[1] == "LPIPS 0.250"
        assert np.array_equal(drawn_photos(figure)[7], figures.enlarged_middle(walk["SR=0.8 DN=0.2"], 4))


def test_curves_hold_the_values_of_the_rows():
    numbers = dict(zip(WALK, (20.0, 21.0, 23.0, 22.0, 21.5, 19.0), strict=True))
    known = [value(PLACES[0], method, "psnr", n, weights=WALK[method]) for method, n in numbers.items()]
    known += [value(PLACES[0], "LQ", "psnr", 18.0), value(PLACES[0], "MD=1", "psnr", 30.0, weights={"MD": 1.0})]
    figure = figures.composition_curves(known[::-1], PLACES[0], ("psnr",))
    dashed, curve = figure.axes[0].lines
    assert np.allclose(curve.get_xdata(), [0, 0.2, 0.4, 0.6, 0.8, 1]) and set(dashed.get_ydata()) == {18.0}
    assert list(curve.get_ydata()) == list(numbers.values())[::-1]


def test_every_expert_is_named_in_its_corner():
    line = {"LQ": photo(0)} | {f"{name}=1": photo(i + 1) for i, name in enumerate(NAMES)} | {"search": photo(9)}
    figure = figures.one_photo_every_expert([value(PLACES[0], "MD=1", "lpips", 0.125)], {PLACES[0]: line})
    names = [text.split("\n")[0] for text in told(figure)]
    assert names == ["LQ", *(f"{name}=1" for name in NAMES), "search", ""] and len(figure.axes) == 9
    assert told(figure)[names.index("MD=1")] == "MD=1\nLPIPS 0.125"
    assert np.array_equal(drawn_photos(figure)[names.index("search")], line["search"])
    assert (drawn_photos(figure)[-1] == 1).all()


def test_a_pair_has_its_own_vectors():
    omega, i, j = grid(), NAMES.index("MD"), NAMES.index("DN")
    at = pair_line(omega, i, j)
    by_hand = [weights_vector({"MD": w, "DN": 1 - w}) for w in np.arange(-0.2, 1.21, 0.2)]
    assert np.allclose(omega[at], by_hand, atol=1e-6)


def test_the_matrix_holds_every_pair():
    """A score that is known for every vector: each curve must be that function of the weight."""
    omega = grid()
    worth = np.arange(6.0)
    scores = omega @ worth - (omega**2).sum(1)
    figure = figures.pair_matrix(omega, scores, "score")
    axes = np.array(figure.axes).reshape(6, 6)
    for i, j in permutations(range(6), 2):
        curve = axes[i, j].lines[0]
        w = np.asarray(curve.get_xdata())
        assert np.allclose(w, np.arange(-0.2, 1.21, 0.2), atol=1e-6)
        assert np.allclose(curve.get_ydata(), w * i + (1 - w) * j - w**2 - (1 - w) ** 2, atol=1e-5)
        star = axes[i, j].lines[1]
        assert star.get_ydata()[0] == max(curve.get_ydata())
    assert [axes[i, i].texts[0].get_text() for i in range(6)] == list(NAMES)
    assert np.isclose(axes[0, 1].lines[2].get_ydata()[0], 4) and np.isclose(
        axes[0, 1].lines[3].get_ydata()[0], max(scores)
    )


def test_motion_samples_stand_over_their_sharp_photos():
    pairs = [[(photo(10 * i + j), photo(100 + 10 * i + j)) for j in range(3)] for i in range(2)]
    figure = figures.motion_samples(pairs, (1.0, 0.5, 0.0))
    assert [axes.get_title() for axes in figure.axes[:3]] == ["severity 1", "severity 0.5", "severity 0"]
    found = drawn_photos(figure)
    assert len(found) == 12
    for i, j in ((0, 0), (1, 2)):
        assert np.array_equal(found[6 * i + j], pairs[i][j][0]) and np.array_equal(found[6 * i + 3 + j], pairs[i][j][1])


def test_a_figure_that_is_missing_says_how_to_draw_it(tmp_path):
    for folder in ("figures", "45_specialisation/figures"):
        (tmp_path / folder).mkdir(parents=True)
    figure = figures.side_by_side([], {PLACES[0]: {"LQ": photo(0)}})
    assert figures.save_figure(figure, tmp_path, "front.jpg").exists()
    (tmp_path / "45_specialisation" / "figures" / "45_examples.jpg").write_bytes(b"")
    states = {line["figure"]: line["status"] for line in figures.drawn(tmp_path)}
    assert {number for number, state in states.items() if state == "drawn"} == {"1", "6"}
    assert states["11"] == "not run: python -m benchmarks.run --profile demo --only 65_cheaper_search"


def test_no_notebook_draws_a_figure_of_the_paper_by_itself():
    """The files of PAPER_FIGURES are saved once, so that no second drawing overwrites the named one."""
    text = "\n".join(path.read_text() for path in pair.find())
    assert all(text.count(f'"{one.file}"') == 1 for one in figures.PAPER_FIGURES.values())
    assert Path(photo_figures.__file__).name == "photos.py"
