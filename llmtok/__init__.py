"""LLM tokens for recommenders: text is the prior, behaviour is the evidence.

The names below are loaded on first use, so `import llmtok` costs nothing and needs nothing.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "Dataset": "data",
    "InputError": "data",
    "load_csv": "data",
    "load_dataset": "data",
    "TextEncoder": "encode",
    "behaviour_tokens": "tokens",
    "make_tokens": "tokens",
    "ImplicitRecommender": "recommend",
    "Popularity": "recommend",
    "SurpriseRecommender": "recommend",
    "TokenEASE": "ease",
    "TokenSVD": "recommend",
    "compare_runs": "sweeps",
    "sweep": "sweeps",
    "evaluate": "evaluation",
    "evaluate_ranking": "evaluation",
    "load_model": "recommend",
    "report": "reports",
}
__all__ = list(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'llmtok' has no attribute {name!r}")
    return getattr(import_module(f"llmtok.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
