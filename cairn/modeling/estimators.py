"""Which estimator: made of what params.yaml says, with those inside it, and what it wants."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaseEnsemble, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV

from cairn.console import CairnError, say
from cairn.contract import Contract
from cairn.modeling import isotonic
from cairn.modeling.folds import Folds
from cairn.params.train import Train

FOLDS = 5
# Inside arguments, what makes a mapping an estimator.
CLASS = "class"
# Those that a test takes from a table to ONNX; others of scikit-learn may work as well.
PROVED = (
    "lightgbm.LGBMClassifier",
    "sklearn.calibration.CalibratedClassifierCV",
    "sklearn.discriminant_analysis.LinearDiscriminantAnalysis",
    "sklearn.ensemble.AdaBoostClassifier",
    "sklearn.ensemble.BaggingClassifier",
    "sklearn.ensemble.ExtraTreesClassifier",
    "sklearn.ensemble.GradientBoostingClassifier",
    "sklearn.ensemble.HistGradientBoostingClassifier",
    "sklearn.ensemble.RandomForestClassifier",
    "sklearn.ensemble.StackingClassifier",
    "sklearn.ensemble.VotingClassifier",
    "sklearn.linear_model.LogisticRegression",
    "sklearn.linear_model.RidgeClassifier",
    "sklearn.linear_model.SGDClassifier",
    "sklearn.naive_bayes.GaussianNB",
    "sklearn.neighbors.KNeighborsClassifier",
    "sklearn.neural_network.MLPClassifier",
    "sklearn.svm.LinearSVC",
    "sklearn.svm.SVC",
    "sklearn.tree.DecisionTreeClassifier",
)
# Those that end where rows kept aside show no gain.
STOPPING = (
    "lightgbm.LGBMClassifier",
    "sklearn.ensemble.GradientBoostingClassifier",
    "sklearn.ensemble.HistGradientBoostingClassifier",
    "sklearn.linear_model.SGDClassifier",
    "sklearn.neural_network.MLPClassifier",
)
# LightGBM's names for after how many steps.
STOPS = ("early_stopping_round", "early_stopping_rounds", "early_stopping", "n_iter_no_change")
# And for what it is judged by.
METRICS = {"metric", "metrics", "metric_types"}
# They compare columns with each other, as a distance, a penalty or a step of descent does, so
# one column's unit must not outweigh the others. Trees and naive Bayes take each by itself.
SCALED = (
    "sklearn.discriminant_analysis",
    "sklearn.gaussian_process",
    "sklearn.linear_model",
    "sklearn.neighbors",
    "sklearn.neural_network",
    "sklearn.svm",
)
# What is given where the user does not say. LightGBM: its bits depend on no count of threads, and
# it leaves the talking to the stage. A vote: the one form that can be converted. A stack: what it
# takes anyway, but says only once it is fitted.
GIVEN: dict[str, dict[str, Any]] = {
    "LGBMClassifier": {"deterministic": True, "force_col_wise": True, "verbosity": -1},
    "StackingClassifier": {"final_estimator": LogisticRegression()},
    "VotingClassifier": {"flatten_transform": False, "voting": "soft"},
}


def make(block: Train, contract: Contract) -> BaseEstimator:
    """The classifier that params.yaml names, seeded, and calibrated if it has no probabilities.

    Raises
    ------
    CairnError
        Where a name is none of a classifier, or its arguments are not what it takes.
    """
    maker = Maker(block.seed, contract)
    arguments = {**_stops(block), **block.arguments}
    made = maker.make(block.estimator, arguments, "train.estimator", "train.arguments")
    if not isinstance(made, ClassifierMixin):
        raise _unknown(block.estimator, "train.estimator")
    if is_lightgbm(block.estimator) and not set(STOPS).isdisjoint(arguments):
        made = _stopping(made)
    if block.calibration != "none":
        if getattr(made, "probability", False) is True:
            raise CairnError(
                "train.calibration: probability: true in train.arguments calibrates already; leave "
                "it out, or set train.calibration to none"
            )
        return calibrated(made, block.seed, block.calibration)
    return made if hasattr(made, "predict_proba") else calibrated(made, block.seed)


def calibrated(
    estimator: BaseEstimator, seed: int, method: str = "sigmoid"
) -> CalibratedClassifierCV:
    """An estimator with probabilities, by cross-validation on shuffled rows."""
    return CalibratedClassifierCV(
        estimator, method=method, cv=Folds(FOLDS, seed=seed, is_inner=True)
    )


def _stops(block: Train) -> dict[str, Any]:
    """The arguments with which the estimator ends where so many steps gain nothing.

    Raises
    ------
    CairnError
        Where it does not look at rows that are kept aside.
    """
    if block.early_stopping is None:
        return {}
    if is_lightgbm(block.estimator):
        given = not set(STOPS).isdisjoint(block.arguments)
        return {} if given else {STOPS[0]: block.early_stopping}
    allowed = inspect.signature(_kind(block.estimator, "train.estimator")).parameters
    if "n_iter_no_change" not in allowed or "validation_fraction" not in allowed:
        raise CairnError(
            f"train.early_stopping: {block.estimator} does not stop early; set null, or take one "
            f"that does: {', '.join(STOPPING)}"
        )
    early = {"early_stopping": True} if "early_stopping" in allowed else {}
    return {**early, "n_iter_no_change": block.early_stopping}


def _stopping(model: BaseEstimator) -> BaseEstimator:
    """LightGBM that keeps rows aside to stop by."""
    # It needs LightGBM, an optional extra.
    from cairn.modeling.early_stopping import Stopping  # noqa: PLC0415

    given = model.get_params()
    alone = {"first_metric_only": True, **({} if METRICS & set(given) else {"metric": "None"})}
    return Stopping(**{**alone, **given})


class Maker(NamedTuple):
    """Makes estimators, all with one seed, for the classes of one contract."""

    seed: int
    contract: Contract

    def make(self, name: str, arguments: Mapping[str, Any], key: str, place: str) -> BaseEstimator:
        """An estimator by its dotted name.

        Parameters
        ----------
        key, place
            Where in params.yaml the name and the arguments stand.
        """
        kind = _kind(name, key)
        _check(kind, arguments, key, place)
        try:
            return kind(**{**self._given(kind, arguments, place), **self._seed(kind, arguments)})
        except (TypeError, ValueError) as error:
            raise CairnError(f"{key}: {name} cannot be made: {error}") from None

    def value(self, value: Any, place: str) -> Any:
        """An argument, with each mapping in it that names a class made an estimator."""
        if isinstance(value, Mapping) and CLASS in value:
            arguments = {name: inner for name, inner in value.items() if name != CLASS}
            return self.make(str(value[CLASS]), arguments, f"{place}.{CLASS}", place)
        if isinstance(value, list):
            made = [self.value(inner, place) for inner in value]
            # scikit-learn wants a name and its estimator as a tuple.
            return tuple(made) if made and isinstance(made[-1], BaseEstimator) else made
        return value

    def weights(self, weights: Any, place: str) -> Any:
        """Weights given by label as the estimator takes them: by the code of the class."""
        if not isinstance(weights, Mapping):
            return weights
        codes = {label: code for code, label in enumerate(self.contract.target.classes)}
        unknown = [label for label in weights if label not in codes]
        if unknown:
            raise CairnError(
                f"{place}.class_weight: no class {unknown[0]!r}; the classes are "
                f"{', '.join(map(repr, codes))}"
            )
        return {codes[label]: weight for label, weight in weights.items()}

    def _given(
        self, kind: type[BaseEstimator], arguments: Mapping[str, Any], place: str
    ) -> dict[str, Any]:
        """What the user says, and what Cairn says where the user does not."""
        made = {
            name: self.weights(value, place)
            if name == "class_weight"
            else self.value(value, f"{place}.{name}")
            for name, value in arguments.items()
        }
        found = {**GIVEN.get(kind.__name__, {}), **made}
        if found.get("voting") == "soft":
            found["estimators"] = [self._votes(voter) for voter in found.get("estimators", [])]
        return found

    def _votes(self, voter: Any) -> Any:
        """A voter, by name, that has the probabilities which a soft vote adds up."""
        if isinstance(voter, tuple) and not hasattr(voter[-1], "predict_proba"):
            return voter[0], calibrated(voter[-1], self.seed)
        return voter

    def _seed(self, kind: type[BaseEstimator], arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The seed where there is one to give, and folds that are shuffled by it."""
        allowed = inspect.signature(kind).parameters
        found: dict[str, Any] = {}
        if "random_state" in allowed and "random_state" not in arguments:
            found["random_state"] = self.seed
        number = arguments.get("cv")
        # Without folds, ridge regression leaves out each row once, and shuffles nothing.
        if "cv" in allowed and kind is not RidgeClassifierCV and type(number) in {int, type(None)}:
            # What asks each row once needs folds that all rows are in.
            learns_all = kind is CalibratedClassifierCV and arguments.get("ensemble") is not False
            number = FOLDS if number is None else number
            found["cv"] = Folds(number, seed=self.seed, learns_all=learns_all, is_inner=True)
        return found


def _kind(name: str, key: str) -> type[BaseEstimator]:
    """The class under a dotted name of scikit-learn or LightGBM."""
    module, _, attribute = name.rpartition(".")
    try:
        kind = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "lightgbm":
            raise CairnError(
                f"{key}: {name}: LightGBM is not installed; run `make install-extras`"
            ) from None
        raise _unknown(name, key) from None
    if not (isinstance(kind, type) and issubclass(kind, BaseEstimator)):
        raise _unknown(name, key)
    return kind


def _unknown(name: str, key: str) -> CairnError:
    return CairnError(
        f"{key}: got {name}; allowed: the dotted name of a classifier of scikit-learn or LightGBM, "
        "such as sklearn.linear_model.LogisticRegression"
    )


def _check(kind: type[BaseEstimator], arguments: Mapping[str, Any], key: str, place: str) -> None:
    """Refuse arguments that the class does not take, those that it lacks, and no seed."""
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.kind not in {parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL}
    }
    allowed = [*parameters, *(_lightgbm_names() if _is_lightgbm(kind) else ())]
    unknown = [name for name in arguments if name not in allowed]
    if unknown:
        raise CairnError(
            f"{place}: {kind.__name__} takes no {', '.join(unknown)}; "
            f"it takes {', '.join(parameters)}{_instead(unknown)}"
        )
    needed = [name for name, each in parameters.items() if each.default is each.empty]
    if set(needed) - set(arguments):
        raise CairnError(
            f"{key}: {kind.__name__} needs {', '.join(needed)} in {place}; write an estimator as "
            f"{{{CLASS}: sklearn.svm.LinearSVC, C: 0.5}}"
        )
    if "random_state" in parameters and arguments.get("random_state", 0) is None:
        raise CairnError(f"{place}.random_state: null gives another model each time; leave it out")


def _instead(unknown: list[str]) -> str:
    """What to take where classes cannot be weighted."""
    if "class_weight" not in unknown:
        return ""
    return (
        "; to weight classes take one that does, such as "
        "sklearn.ensemble.HistGradientBoostingClassifier or sklearn.linear_model.LogisticRegression"
    )


def _is_lightgbm(kind: type[Any]) -> bool:
    return any(each.__module__.startswith("lightgbm.") for each in kind.__mro__)


def _lightgbm_names() -> list[str]:
    """Every parameter of LightGBM, which takes those that are none and says nothing."""
    from lightgbm.basic import _ConfigAliases  # noqa: PLC0415 - an optional extra

    aliases = _ConfigAliases._get_all_param_aliases()  # noqa: SLF001 - there is no public list
    return [*aliases, *(name for names in aliases.values() for name in names)]


def stops(estimator: BaseEstimator) -> dict[str, Any]:
    """The parameters, its own and of those inside it, by which scikit-learn keeps rows aside.

    Returns
    -------
    dict
        Each with the value by which it keeps none.
    """
    given = estimator.get_params(deep=True)
    found = {
        name: False
        for name, value in given.items()
        if name.rpartition("__")[2] == "early_stopping" and value in {True, "auto"}
    }
    steps = {
        name: None
        for name, value in given.items()
        if name.rpartition("__")[2] == "n_iter_no_change" and value is not None
    }
    # What has `early_stopping` takes no None for the number of steps.
    alone = {
        name: value
        for name, value in steps.items()
        if name.replace("n_iter_no_change", "early_stopping") not in given
    }
    return {**found, **alone}


def parts(estimator: BaseEstimator) -> list[BaseEstimator]:
    """An estimator and those that were given to it, at any depth."""
    given = estimator.get_params(deep=True).values()
    return [estimator, *(value for value in given if isinstance(value, BaseEstimator))]


def wants_scale(estimator: BaseEstimator) -> bool:
    """Whether it, or one inside it, compares columns with each other."""
    return any(type(part).__module__.startswith(SCALED) for part in parts(estimator))


def is_histogram(estimator: BaseEstimator) -> bool:
    """Whether it boosts trees of histograms: such take a missing value, and split places well."""
    return isinstance(estimator, HistGradientBoostingClassifier) or _is_lightgbm(type(estimator))


def is_lightgbm(name: str) -> bool:
    """Whether a dotted name is that of LightGBM's classifier, which learns on a cluster, too."""
    return name == "lightgbm.LGBMClassifier"


def is_stepwise(estimator: BaseEstimator) -> bool:
    """Whether it, or one inside it, is fitted step by step, so that the steps may be too long."""
    names = {name.rpartition(".")[2] for name in STOPPING}
    return any(type(part).__name__ in names for part in parts(estimator))


def uses_lightgbm(estimator: BaseEstimator) -> bool:
    """Whether it, or one inside it, is LightGBM's."""
    return any(_is_lightgbm(type(part)) for part in parts(estimator))


def any_threads(estimator: BaseEstimator) -> bool:
    """Whether OpenMP may use every core: its trees are the same, bit by bit, on any number."""
    return any(is_histogram(part) for part in parts(estimator))


def asks_an_ensemble(estimator: BaseEstimator) -> bool:
    """Whether its fit may ask a forest or the like, whose threads add up in any order."""
    return any(isinstance(part, BaseEnsemble) for part in parts(estimator)[1:])


def exact(estimator: BaseEstimator) -> BaseEstimator:
    """A fitted estimator that ONNX can say in float32, and with no core count in it.

    A tree of histograms splits half-way between two values, in float64; ONNX compares in
    float32, and half-way between neighbours of it would be one of the two. The largest float32 that
    is not above splits every float32 alike. The steps of an isotonic calibration become slopes.
    """
    found = copy.deepcopy(estimator) if any_threads(estimator) or _steps(estimator) else estimator
    for part in filter(lambda part: hasattr(part, "classes_"), inside(found)):
        if isinstance(part, HistGradientBoostingClassifier):
            _exact_scikit_learn(part)
        elif _is_lightgbm(type(part)):
            _exact_lightgbm(part)
        elif _steps(part):
            _exact_calibration(part)
    return found


def _steps(estimator: BaseEstimator) -> bool:
    """Whether it, or one inside it, is calibrated by steps."""
    return any(getattr(part, "method", None) == "isotonic" for part in parts(estimator))


def inside(value: Any) -> Iterator[BaseEstimator]:
    """Every estimator in the attributes of one, at any depth, itself too."""
    if isinstance(value, BaseEstimator):
        yield value
        value = vars(value)
    if type(value).__name__ == "_CalibratedClassifier":
        value = vars(value)
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for inner in value:
            yield from inside(inner)


def _exact_scikit_learn(estimator: HistGradientBoostingClassifier) -> None:
    for trees in estimator._predictors:  # noqa: SLF001 - as skl2onnx reads them
        for tree in trees:
            tree.nodes["num_threshold"] = floor(tree.nodes["num_threshold"])
    estimator._bin_mapper.n_threads = None  # noqa: SLF001 - the cores of this machine


def _exact_calibration(estimator: Any) -> None:
    for each in getattr(estimator, "calibrated_classifiers_", []):
        each.calibrators = list(map(isotonic.gentle, each.calibrators))


def _exact_lightgbm(estimator: Any) -> None:
    from lightgbm import Booster, LGBMClassifier  # noqa: PLC0415 - an optional extra

    lines = estimator.booster_.model_to_string().split("\n")
    exact = "\n".join(_exact_line(line) for line in lines if not line.startswith("tree_sizes="))
    # The text ends with the best of the trees; none is left to stop at, or to keep rows for.
    estimator._Booster = Booster(model_str=exact)  # noqa: SLF001 - there is no setter
    estimator.__class__ = LGBMClassifier


def _exact_line(line: str) -> str:
    """A line of LightGBM's own form of a model, its thresholds made float32."""
    name, _, values = line.partition("=")
    if name != "threshold":
        return line
    exact = floor(np.array(values.split(), dtype=np.float64))
    return "threshold=" + " ".join(map(repr, exact.tolist()))


def floor(values: Any) -> Any:
    """The largest float32 that is not above each float64, as float64."""
    near = values.astype(np.float32)
    below = np.nextafter(near, np.float32(-np.inf))
    return np.where(near > values, below, near).astype(np.float64)


@contextmanager
def quiet(doing: str) -> Iterator[None]:
    """Say what scikit-learn warns of, once and in a line; what it plans for itself, not at all."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for plans in (DeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", plans)
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        yield
    for text in dict.fromkeys(" ".join(str(warning.message).split()) for warning in caught):
        say(f"train: {doing} warns: {text}")
