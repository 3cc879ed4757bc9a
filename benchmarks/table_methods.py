"""Every method of the tables by its name: what restores a photo, what it costs, and why it can't run here."""

import time
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec

import numpy as np

from benchmarks import searches
from benchmarks.baselines import CLASSICAL
from benchmarks.evaluate import CANDIDATES, Evaluation
from benchmarks.table_sets import Case
from benchmarks.tables import SR_ONLY
from unires.engine import Engine, middle
from unires.metrics import EVERY
from unires.models.store import CheckpointError, find_checkpoint, read_story
from unires.profiles import CONTROLS
from unires.restore import Restorer, restorer_of, untaught
from unires.score import metric_score
from unires.search import among, best_of
from unires.shapes import Photo, Weights
from unires.tasks import EXPERTS, NEGATIVE, POSITIVE, down_lq_experts, weights_dict, weights_vector, with_words
from unires.weight_files import needed

FEW = "it compares two folders of thousands of photos; so few say nothing"


@dataclass
class Methods:
    """Restores one photo by a method's name, and says what it cost."""

    evaluation: Evaluation

    @cached_property
    def dial(self) -> Restorer:
        """DownLQ at the factors of Figure 3."""
        return restorer_of(self.evaluation.config, down_lq_experts((2, 4, 8, 16)))[0]

    @cached_property
    def sr_only(self) -> Restorer:
        return restorer_of(CONTROLS[f"{self.evaluation.config.name}_sr_only"])[0]

    @cached_property
    def spoken(self) -> Restorer:
        """The six experts and the words of A.7."""
        return restorer_of(self.evaluation.config, (*EXPERTS, POSITIVE, NEGATIVE))[0]

    @cached_property
    def engine(self) -> Engine:
        return Engine(self.evaluation.restorer)

    @cached_property
    def searches(self) -> dict[str, np.ndarray]:
        """The vectors of each search of this profile, by its name."""
        search = self.evaluation.config.search
        if search.vectors == "grid":
            return searches.grids(search)
        return {searches.search_name(search): np.stack([weights_vector(w) for w in CANDIDATES.values()])}

    def missing(self, method: str) -> str | None:
        """Why a method can't restore anything here, or None; nothing is restored to find out.

        Test: test_table_methods.py::test_what_cannot_run_says_why, test_a_search_without_its_judge_says_so
        """
        if method == "LQ" or method in CLASSICAL:
            return None
        wanted = self.evaluation.config.checkpoint
        if method in SR_ONLY.values():
            wanted = f"{self.evaluation.config.name}_sr_only"
        try:
            if wanted is not None and (why := untaught(read_story(find_checkpoint(wanted)))):
                return f"{wanted}: {why}"
        except CheckpointError:
            return f"no checkpoint {wanted} ships"
        judge = self.evaluation.config.search.score
        if method in self.searches and (why := absent((judge,)).get(judge)):
            return f"the search is by {judge}, and {why}"
        return None

    def __call__(self, case: Case, method: str) -> tuple[Photo, dict]:
        """Restore; photos of the six experts are kept in the run's folder and made once."""
        if method == "LQ":
            return case.y, {}
        if method in CANDIDATES:
            made = self.evaluation.restore(case, CANDIDATES[method])
            cost = {"weights": CANDIDATES[method], "unet_calls": made.unet_calls, "seconds": made.seconds}
            return made.photo, cost
        if method in self.searches:
            return self.search(case, method)
        if method in CLASSICAL:
            photo, cost = _timed(lambda: CLASSICAL[method](case.y))
            return photo, {**cost, "unet_calls": 0}
        restorer = self.sr_only if method in SR_ONLY.values() else self.dial
        name = method.split()[-1].removesuffix("=1")
        photo, cost = _timed(lambda: restorer(case.y, {name: 1.0}, seed=self.evaluation.seed))
        return photo, {**cost, "weights": {name: 1.0}, "unet_calls": restorer.config.sample.steps}

    def search(self, case: Case, method: str) -> tuple[Photo, dict]:
        """The best of the profile's vectors, photo by photo; the cost is that of all of them.

        Of a photo that is larger than a tile the middle is searched, and the whole restored with what was found.
        Paper: Eq. 3; A.7 for the words.
        Test: test_table_methods.py::test_the_search_is_that_of_notebook_60,
              test_the_grid_is_searched_by_the_profiles_judge, test_words_come_on_top
        """
        find = self._listed if self.evaluation.config.search.vectors == "list" else self._gridded
        w, photo, cost = find(case, self.searches[method])
        if not method.endswith(searches.WORDS):
            return photo, {"weights": weights_dict(w), **cost}
        w = with_words(w)
        photo, more = _timed(lambda: self.spoken(case.y, w, seed=self.evaluation.seed))
        weights = weights_dict(w, self.spoken.experts)
        calls = cost["unet_calls"] + len(weights) * self.spoken.config.sample.steps
        return photo, {"weights": weights, "unet_calls": calls, "seconds": cost["seconds"] + more["seconds"]}

    def _listed(self, case: Case, vectors: np.ndarray) -> tuple[Weights, Photo, dict]:
        """As in notebook 60: each photo is restored, and kept."""
        made = []

        def restore(w):
            made.append(self.evaluation.restore(case, weights_dict(w)))
            return made[-1].photo

        best = best_of(restore, vectors, metric_score(self.evaluation.config.search.score))
        cost = {"unet_calls": sum(one.unet_calls for one in made), "seconds": sum(one.seconds for one in made)}
        return best.weights, best.photo, cost

    def _gridded(self, case: Case, vectors: np.ndarray) -> tuple[Weights, Photo, dict]:
        """By the engine; the ledger in the run's folder lets a search that was interrupted go on."""
        held, search = self.evaluation, self.evaluation.config.search
        y = middle(case.y, held.config.sample.tile)
        study = self.engine.study(y, held.seed)
        found = among(study, vectors, metric_score(search.score), held.run_dir / "search", "grid")
        cost = {"unet_calls": found.unet_calls, "seconds": round(found.seconds, 3)}
        if found.photo.shape == case.y.shape:
            return found.weights, found.photo, cost
        made = held.restore(case, weights_dict(found.weights))
        cost = {"unet_calls": cost["unet_calls"] + made.unet_calls, "seconds": cost["seconds"] + made.seconds}
        return found.weights, made.photo, cost


def _timed(function) -> tuple[Photo, dict]:
    began = time.perf_counter()
    photo = function()
    return photo, {"seconds": round(time.perf_counter() - began, 3)}


def absent(metrics: tuple[str, ...], whole: bool = False) -> dict[str, str]:
    """The metrics that can't be measured here, and why. `whole`: on a whole set, of which folders can be compared.

    Test: test_table_methods.py::test_what_cannot_run_says_why
    """
    found = {}
    for name in metrics:
        metric = EVERY[name]
        if metric.folders and not whole:
            found[name] = FEW
            continue
        try:
            needed(name, metric.needs)
        except (FileNotFoundError, ImportError):
            files = [" or ".join(file.name.split("/")[0] for file in choice) for choice in metric.needs]
            found[name] = f"its weights are in no package, and not here: {', '.join(files)}"
            continue
        if find_spec(metric.library.replace("-", "_")) is None:
            found[name] = f"the package {metric.library} is not installed"
    return found
