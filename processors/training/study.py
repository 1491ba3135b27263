"""The record of trials: an Optuna study that is asked and told in one place, so that a cut one can go on.

What is drawn for a trial depends on the seed, on the trial's place and on the trials that are finished, never on a
generator's state: that would be lost with its process.
"""

import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from tidemill.processors.training.candidates import Candidate
from tidemill.schemas.errors import ModelError

CANDIDATE, PLACE, ERROR, SCORES = "candidate", "place", "error", "scores"
_STARTUP = 10
"""Trials that are drawn at random before TPE models them: Optuna's own default."""


def optuna() -> Any:
    """Optuna, silent; raises ModelError if it is not installed."""
    try:
        module = import_module("optuna")
    except ImportError as error:
        raise ModelError(
            "the search over candidates needs Optuna, which is not installed: pip install 'tidemill[training]'"
        ) from error
    module.logging.set_verbosity(module.logging.ERROR)
    return module


class Study:
    """Trials of `candidates`, the first of them as declared, one by one; the rest drawn by TPE (Bergstra et al. 2011).

    A trial has a place, from 0 on, which decides what it is. `storage` is an Optuna storage or its URL; None keeps
    trials in memory. `alone` says that no other process works on the study: what a former one left unfinished is then
    given up, and its places are taken again.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        *,
        seed: int,
        greater: bool,
        name: str,
        storage: Any = None,
        alone: bool = True,
    ) -> None:
        self._optuna = optuna()
        self._candidates = {candidate.name: candidate for candidate in candidates}
        self._searchable = [candidate.name for candidate in candidates if candidate.search]
        self._seed = seed
        self._study = self._optuna.create_study(
            storage=storage,
            study_name=name,
            direction="maximize" if greater else "minimize",
            load_if_exists=True,
            # Median stopping (Golovin et al. 2017) asks finished trials only, so that a cut does not show.
            pruner=self._optuna.pruners.MedianPruner(n_startup_trials=len(candidates), n_warmup_steps=0),
        )
        if alone:
            for trial in self._study.get_trials(deepcopy=False, states=(self._state.RUNNING, self._state.WAITING)):
                self._study.tell(trial.number, state=self._state.FAIL)

    @property
    def _state(self) -> Any:
        return self._optuna.trial.TrialState

    def free(self, trials: int, most: int) -> list[int]:
        """The first places, `most` of them at most, that no trial has; of `trials` in all, or fewer if none is drawn.

        Two processes that ask at one moment may get the same ones: then a trial is made twice, and none is left out.
        """
        taken = {trial.user_attrs.get(PLACE) for trial in [*self.finished(), *self._running()]}
        total = max(trials, len(self._candidates)) if self._searchable else len(self._candidates)
        return [place for place in range(total) if place not in taken][:most]

    def _running(self) -> list[Any]:
        return list(self._study.get_trials(deepcopy=False, states=(self._state.RUNNING,)))

    def finished(self) -> list[Any]:
        """Optuna's frozen trials that have come to an end of their own: complete, pruned, or raised."""
        states = (self._state.COMPLETE, self._state.PRUNED, self._state.FAIL)
        trials = self._study.get_trials(deepcopy=False, states=states)
        return [trial for trial in trials if trial.state != self._state.FAIL or ERROR in trial.user_attrs]

    def ask(self, place: int) -> tuple[Any, Candidate, dict[str, Any]]:
        """The trial of this place: Optuna's handle, the candidate, and its parameters; none for one as declared."""
        self._study.sampler = self._sampler(place)
        trial = self._study.ask()
        as_declared = place < len(self._candidates)
        name = list(self._candidates)[place] if as_declared else ""
        if name in ("", *self._searchable):
            name = trial.suggest_categorical(CANDIDATE, self._searchable)
        candidate = self._candidates[name]
        drawn = {
            parameter: space.value(_suggest(trial, f"{name}.{parameter}", space))
            for parameter, space in candidate.search.items()
            if not as_declared or space.name_of(candidate.declared()[parameter]) is not None
        }
        trial.set_user_attr(CANDIDATE, name)
        trial.set_user_attr(PLACE, place)
        return trial, candidate, {} if as_declared else drawn

    def report(self, trial: Any, step: int, value: float) -> bool:
        """Tell how a trial stands after a fold; whether it is to be given up. One as declared never is."""
        trial.report(value, step)
        return trial.user_attrs[PLACE] >= len(self._candidates) and bool(trial.should_prune())

    def tell(self, trial: Any, scores: Sequence[float], value: float | None, error: str = "") -> None:
        """End a trial: with its value, pruned without one, or with an error."""
        trial.set_user_attr(SCORES, list(scores))
        if error:
            trial.set_user_attr(ERROR, error)
            self._study.tell(trial, state=self._state.FAIL)
        elif value is None:
            self._study.tell(trial, state=self._state.PRUNED)
        else:
            self._study.tell(trial, value)

    def _sampler(self, place: int) -> Any:
        tpe = self._optuna.samplers.TPESampler(seed=(self._seed * 1_000_003 + place) % 2**32, n_startup_trials=_STARTUP)
        if place >= len(self._candidates):
            return tpe
        candidate = list(self._candidates.values())[place]
        declared = {
            f"{candidate.name}.{name}": candidate.search[name].name_of(value)
            for name, value in candidate.declared().items()
        }
        fixed = {name: value for name, value in declared.items() if value is not None}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", self._optuna.exceptions.ExperimentalWarning)
            return self._optuna.samplers.PartialFixedSampler({CANDIDATE: candidate.name, **fixed}, tpe)


def _suggest(trial: Any, name: str, space: Any) -> Any:
    if space.kind == "choice":
        return trial.suggest_categorical(name, space.names)
    if space.kind == "integer":
        return trial.suggest_int(name, int(space.low), int(space.high))
    return trial.suggest_float(name, space.low, space.high, log=space.kind == "log_uniform")


def params_of(trial: Any, candidates: Mapping[str, Candidate]) -> dict[str, Any]:
    """A finished trial's parameters, as the estimator takes them."""
    candidate = candidates[trial.user_attrs[CANDIDATE]]
    if trial.user_attrs[PLACE] < len(candidates):
        return {}
    return {name: space.value(trial.params[f"{candidate.name}.{name}"]) for name, space in candidate.search.items()}
