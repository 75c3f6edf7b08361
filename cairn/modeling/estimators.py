"""Build the estimator that params.yaml names, with those inside it, and ask what it needs."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple

from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaseEnsemble, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV

from cairn.console import say
from cairn.contract import Contract
from cairn.errors import CairnError
from cairn.modeling import compat
from cairn.modeling.folds import Folds
from cairn.params.train import Train

FOLDS = 5
# Inside arguments, what makes a mapping an estimator.
CLASS = "class"
# A test takes each of these from a table to ONNX; others of scikit-learn may work as well.
SUPPORTED = (
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
# These stop when a held-out part of the rows shows no more gain.
EARLY_STOPPING = (
    "lightgbm.LGBMClassifier",
    "sklearn.ensemble.GradientBoostingClassifier",
    "sklearn.ensemble.HistGradientBoostingClassifier",
    "sklearn.linear_model.SGDClassifier",
    "sklearn.neural_network.MLPClassifier",
)
# LightGBM's names for the number of steps without a gain after which it stops.
EARLY_STOPPING_NAMES = (
    "early_stopping_round",
    "early_stopping_rounds",
    "early_stopping",
    "n_iter_no_change",
)
# LightGBM's names for the metric that decides that.
METRIC_NAMES = {"metric", "metrics", "metric_types"}
# These compare columns with each other, as a distance, a penalty or a step of descent does, so
# one column's unit must not outweigh the others. Trees and naive Bayes look at each by itself.
SCALE_SENSITIVE = (
    "sklearn.discriminant_analysis",
    "sklearn.gaussian_process",
    "sklearn.linear_model",
    "sklearn.neighbors",
    "sklearn.neural_network",
    "sklearn.svm",
)
# Arguments that the user may leave out. LightGBM: the same bits on any number of threads, and no
# output of its own. A vote: the one form that can be converted. A stack: scikit-learn's own
# default, which it would set only when it is fitted.
DEFAULTS: dict[str, dict[str, Any]] = {
    "LGBMClassifier": {"deterministic": True, "force_col_wise": True, "verbosity": -1},
    "StackingClassifier": {"final_estimator": LogisticRegression()},
    "VotingClassifier": {"flatten_transform": False, "voting": "soft"},
}


def build_estimator(params: Train, contract: Contract) -> BaseEstimator:
    """Build the classifier that params.yaml names, seeded; calibrate it if it has no probabilities.

    Raises
    ------
    CairnError
        If a name is not that of a classifier, or the classifier does not take the arguments.
    """
    builder = Builder(params.seed, contract)
    arguments = {**_early_stopping_arguments(params), **params.arguments}
    estimator = builder.build(params.estimator, arguments, "train.estimator", "train.arguments")
    if not isinstance(estimator, ClassifierMixin):
        raise _unknown_estimator(params.estimator, "train.estimator")
    if is_lightgbm(params.estimator) and not set(EARLY_STOPPING_NAMES).isdisjoint(arguments):
        estimator = _stop_early(estimator)
    if params.calibration != "none":
        if getattr(estimator, "probability", False) is True:
            raise CairnError(
                "train.calibration: probability: true in train.arguments calibrates already; "
                "remove it, or set train.calibration to none"
            )
        return calibrate(estimator, params.seed, params.calibration)
    return estimator if hasattr(estimator, "predict_proba") else calibrate(estimator, params.seed)


def calibrate(
    estimator: BaseEstimator, seed: int, method: str = "sigmoid"
) -> CalibratedClassifierCV:
    """Wrap an estimator to have probabilities, by cross-validation on shuffled rows."""
    return CalibratedClassifierCV(
        estimator, method=method, cv=Folds(FOLDS, seed=seed, is_inner=True)
    )


def _early_stopping_arguments(params: Train) -> dict[str, Any]:
    """Return the arguments that stop the estimator after `train.early_stopping` steps without gain.

    Raises
    ------
    CairnError
        If the estimator cannot hold out rows to stop early.
    """
    if params.early_stopping is None:
        return {}
    if is_lightgbm(params.estimator):
        has_own = not set(EARLY_STOPPING_NAMES).isdisjoint(params.arguments)
        return {} if has_own else {EARLY_STOPPING_NAMES[0]: params.early_stopping}
    allowed = inspect.signature(_import_class(params.estimator, "train.estimator")).parameters
    if "n_iter_no_change" not in allowed or "validation_fraction" not in allowed:
        raise CairnError(
            f"train.early_stopping: {params.estimator} does not stop early; set null, or use one "
            f"that does: {', '.join(EARLY_STOPPING)}"
        )
    early = {"early_stopping": True} if "early_stopping" in allowed else {}
    return {**early, "n_iter_no_change": params.early_stopping}


def _stop_early(model: BaseEstimator) -> BaseEstimator:
    """Have a LightGBM classifier hold out rows, by whose loss it stops."""
    # It needs LightGBM, an optional extra.
    from cairn.modeling.early_stopping import EarlyStoppingClassifier  # noqa: PLC0415

    arguments = model.get_params()
    metric = {} if METRIC_NAMES & set(arguments) else {"metric": "None"}
    return EarlyStoppingClassifier(**{"first_metric_only": True, **metric, **arguments})


class Builder(NamedTuple):
    """Builds estimators, all with one seed, for the classes of one contract."""

    seed: int
    contract: Contract

    def build(self, name: str, arguments: Mapping[str, Any], key: str, path: str) -> BaseEstimator:
        """Build an estimator by its dotted name.

        Parameters
        ----------
        key, path
            Keys of params.yaml that hold the name and the arguments.
        """
        cls = _import_class(name, key)
        _check_arguments(cls, arguments, key, path)
        try:
            return cls(
                **{
                    **self._complete_arguments(cls, arguments, path),
                    **self._seed_arguments(cls, arguments),
                }
            )
        except (TypeError, ValueError) as error:
            raise CairnError(f"{key}: {name} cannot be built: {error}") from None

    def build_value(self, value: Any, path: str) -> Any:
        """Build an argument, in which each mapping that names a class becomes an estimator."""
        if isinstance(value, Mapping) and CLASS in value:
            arguments = {name: inner for name, inner in value.items() if name != CLASS}
            return self.build(str(value[CLASS]), arguments, f"{path}.{CLASS}", path)
        if isinstance(value, list):
            values = [self.build_value(inner, path) for inner in value]
            # scikit-learn wants a name and its estimator as a tuple.
            return tuple(values) if values and isinstance(values[-1], BaseEstimator) else values
        return value

    def encode_weights(self, weights: Any, path: str) -> Any:
        """Turn weights by label into weights by class code, as the estimator takes them."""
        if not isinstance(weights, Mapping):
            return weights
        codes = {label: code for code, label in enumerate(self.contract.target.classes)}
        unknown = [label for label in weights if label not in codes]
        if unknown:
            raise CairnError(
                f"{path}.class_weight: no class {unknown[0]!r}; the classes are "
                f"{', '.join(map(repr, codes))}"
            )
        return {codes[label]: weight for label, weight in weights.items()}

    def _complete_arguments(
        self, cls: type[BaseEstimator], arguments: Mapping[str, Any], path: str
    ) -> dict[str, Any]:
        """Return the user's arguments, and the defaults of those that the user left out."""
        estimator = {
            name: self.encode_weights(value, path)
            if name == "class_weight"
            else self.build_value(value, f"{path}.{name}")
            for name, value in arguments.items()
        }
        result = {**DEFAULTS.get(cls.__name__, {}), **estimator}
        if result.get("voting") == "soft":
            result["estimators"] = [
                self._calibrate_voter(voter) for voter in result.get("estimators", [])
            ]
        return result

    def _calibrate_voter(self, voter: Any) -> Any:
        """Calibrate a named voter that has no probabilities, which a soft vote adds up."""
        if isinstance(voter, tuple) and not hasattr(voter[-1], "predict_proba"):
            return voter[0], calibrate(voter[-1], self.seed)
        return voter

    def _seed_arguments(
        self, cls: type[BaseEstimator], arguments: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return `random_state` if the class takes one, and folds that are shuffled by it."""
        allowed = inspect.signature(cls).parameters
        result: dict[str, Any] = {}
        if "random_state" in allowed and "random_state" not in arguments:
            result["random_state"] = self.seed
        number = arguments.get("cv")
        # Without folds, ridge regression leaves out each row once, and shuffles nothing.
        if "cv" in allowed and cls is not RidgeClassifierCV and type(number) in {int, type(None)}:
            # Predicting each row once needs folds that hold all rows.
            learns_all = cls is CalibratedClassifierCV and arguments.get("ensemble") is not False
            number = FOLDS if number is None else number
            result["cv"] = Folds(number, seed=self.seed, learns_all=learns_all, is_inner=True)
        return result


def _import_class(name: str, key: str) -> type[BaseEstimator]:
    """Import a class of scikit-learn or LightGBM by its dotted name."""
    module, _, attribute = name.rpartition(".")
    try:
        cls = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "lightgbm":
            raise CairnError(
                f"{key}: {name}: LightGBM is not installed; run `make install-extras`"
            ) from None
        raise _unknown_estimator(name, key) from None
    if not (isinstance(cls, type) and issubclass(cls, BaseEstimator)):
        raise _unknown_estimator(name, key)
    return compat.HistGradientBoostingClassifier if cls is HistGradientBoostingClassifier else cls


def _unknown_estimator(name: str, key: str) -> CairnError:
    return CairnError(
        f"{key}: got {name}; allowed: the dotted name of a classifier of scikit-learn or LightGBM, "
        "such as sklearn.linear_model.LogisticRegression"
    )


def _check_arguments(
    cls: type[BaseEstimator], arguments: Mapping[str, Any], key: str, path: str
) -> None:
    """Raise a CairnError for an unknown argument, a missing one, or a seed of null."""
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.kind not in {parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL}
    }
    allowed = [*parameters, *(compat.list_lightgbm_parameters() if is_lightgbm_class(cls) else ())]
    unknown = [name for name in arguments if name not in allowed]
    if unknown:
        raise CairnError(
            f"{path}: {cls.__name__} takes no {', '.join(unknown)}; "
            f"it takes {', '.join(parameters)}{_suggest_weighted(unknown)}"
        )
    needed = [name for name, each in parameters.items() if each.default is each.empty]
    if set(needed) - set(arguments):
        raise CairnError(
            f"{key}: {cls.__name__} needs {', '.join(needed)} in {path}; write an estimator as "
            f"{{{CLASS}: sklearn.svm.LinearSVC, C: 0.5}}"
        )
    if "random_state" in parameters and arguments.get("random_state", 0) is None:
        raise CairnError(f"{path}.random_state: null trains a different model each time; remove it")


def _suggest_weighted(unknown: list[str]) -> str:
    """Suggest estimators that weight classes, if the unknown argument is for that."""
    if "class_weight" not in unknown:
        return ""
    return (
        "; to weight classes use one that does, such as "
        "sklearn.ensemble.HistGradientBoostingClassifier or sklearn.linear_model.LogisticRegression"
    )


def is_lightgbm_class(cls: type[Any]) -> bool:
    """Tell whether a class is LightGBM's, or inherits from one."""
    return any(each.__module__.startswith("lightgbm.") for each in cls.__mro__)


def find_early_stopping(estimator: BaseEstimator) -> dict[str, Any]:
    """Find the parameters, also of estimators inside it, by which scikit-learn holds out rows.

    Returns
    -------
    dict
        Each with the value that turns early stopping off.
    """
    values = estimator.get_params(deep=True)
    flags = {
        name: False
        for name, value in values.items()
        if name.rpartition("__")[2] == "early_stopping" and value in {True, "auto"}
    }
    # An estimator that has `early_stopping` takes no None for the number of steps.
    steps = {
        name: None
        for name, value in values.items()
        if name.rpartition("__")[2] == "n_iter_no_change"
        and value is not None
        and name.replace("n_iter_no_change", "early_stopping") not in values
    }
    return {**flags, **steps}


def list_estimators(estimator: BaseEstimator) -> list[BaseEstimator]:
    """List an estimator and the estimators among its parameters, at any depth."""
    values = estimator.get_params(deep=True).values()
    return [estimator, *(value for value in values if isinstance(value, BaseEstimator))]


def is_scale_sensitive(estimator: BaseEstimator) -> bool:
    """Tell whether the estimator, or one inside it, compares columns with each other."""
    return any(
        type(part).__module__.startswith(SCALE_SENSITIVE) for part in list_estimators(estimator)
    )


def is_histogram_boosting(estimator: BaseEstimator) -> bool:
    """Tell whether it boosts trees on histograms, and so takes missing values and codes."""
    return isinstance(estimator, HistGradientBoostingClassifier) or is_lightgbm_class(
        type(estimator)
    )


def is_lightgbm(name: str) -> bool:
    """Tell whether a dotted name is LightGBM's classifier, which can train on a cluster."""
    return name == "lightgbm.LGBMClassifier"


def is_iterative(estimator: BaseEstimator) -> bool:
    """Tell whether the estimator, or one inside it, is fitted in steps, which may be too long."""
    names = {name.rpartition(".")[2] for name in EARLY_STOPPING}
    return any(type(part).__name__ in names for part in list_estimators(estimator))


def has_lightgbm(estimator: BaseEstimator) -> bool:
    """Tell whether the estimator, or one inside it, is LightGBM's."""
    return any(is_lightgbm_class(type(part)) for part in list_estimators(estimator))


def is_thread_invariant(estimator: BaseEstimator) -> bool:
    """Tell whether OpenMP may use every core, as the trees are then bit for bit the same."""
    return any(is_histogram_boosting(part) for part in list_estimators(estimator))


def has_inner_ensemble(estimator: BaseEstimator) -> bool:
    """Tell whether its fit may call a forest or the like, whose threads sum in any order."""
    return any(isinstance(part, BaseEnsemble) for part in list_estimators(estimator)[1:])


@contextmanager
def summarize_warnings(activity: str) -> Iterator[None]:
    """Print each warning of scikit-learn once, on one line; drop those about its own future."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for plans in (DeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", plans)
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        yield
    for text in dict.fromkeys(" ".join(str(warning.message).split()) for warning in caught):
        say(f"train: {activity} warns: {text}")
