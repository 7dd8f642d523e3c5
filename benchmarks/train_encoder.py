"""What training the encoder gains for new, few-rating and warm items, with its controls: the kept table of notebook 09.

Run ``python benchmarks/train_encoder.py``, or with ``films`` or ``packages`` for that part alone; on one core it takes
the seconds that it writes down as ``all``, into ``benchmarks/train_encoder.json``. The functions and the settings are
the notebook's own, read from it, so that what is measured here is what is taught there.
``python benchmarks/train_encoder.py choose`` writes what the settings were chosen by: validation items and users that
no test has.
"""

import ast
import hashlib
import json
import sys
import time
from itertools import product
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd

from llmtok import TextEncoder, TokenEASE, load_dataset
from llmtok.evaluation import compare, split

HERE = Path(__file__).resolve().parent
NOTEBOOK = HERE.parent / "notebooks" / "09_train_the_encoder.ipynb"
RESULT = HERE / "train_encoder.json"
SEEDS = {"films": [0, 1], "packages": [0, 1]}  # draws of hidden items
MASKED_STEPS = 60  # of the notebook's 30, so that masked words get the seconds that pairs get
CURVE = {"films": [10, 30, 60, 120], "packages": [30, 60, 120, 240]}  # steps at which a training is looked at
WHOLE = ["frozen", "map", "contrastive", "masked words"]  # measured on all groups; the rest are controls
GROUPS = ["cosine", "ridge", "few", "warm"]
CONSTANTS = {"HEADS", "worth", "kept"}
# Settings of the contrastive training that `choose` tries: layers trained, size of a step, SCALE, POWER.
TRIED = {
    "films": [
        *[(1, rate, 20.0, 0.5) for rate in (2e-5, 1e-4)],
        *[(1, 2e-5, scale, 0.5) for scale in (5.0, 10.0)],
        (1, 2e-5, 20.0, 1.0),
        *[(2, rate, 20.0, 0.5) for rate in (2e-5, 1e-4)],
    ],
    "packages": [(1, rate, 20.0, 0.5) for rate in (2e-5, 5e-5, 1e-4)],
}


def of_notebook() -> list[str]:
    """Return the imports, parameters and functions of the notebook, without the rest of its lesson."""
    pieces = []
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type != "code" or set(tags) & {"check", "exercise", "solution", "remove-cell"}:
            continue
        for node in ast.parse(cell.source).body:
            names = {target.id for target in getattr(node, "targets", []) if isinstance(target, ast.Name)}
            kinds = ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef
            if isinstance(node, kinds) or "parameters" in tags or names & CONSTANTS:
                pieces.append(ast.get_source_segment(cell.source, node))
    return pieces


def fingerprint() -> str:
    """Return a checksum of all that is taken from the notebook: with another one, measure again."""
    return hashlib.sha256("\n".join(of_notebook()).encode()).hexdigest()[:16]


class Lesson:
    """The notebook's functions on the bundled data, with one thread."""

    def __init__(self):
        space = self.space = {"__name__": "lesson"}
        exec("\n".join(of_notebook()), space)
        space["threadpool_limits"](1, user_api="blas")
        space["torch"].set_num_threads(1)
        space["logging"].set_verbosity_error()
        space["logging"].disable_progress_bar()
        data = {"films": load_dataset(space["DATASET"]), "packages": load_dataset(space["PACKAGES"])}
        data["packages"] = data["packages"].with_text("{title}: {summary}. {description}")
        encoder = TextEncoder(n_threads=1, progress=False)
        space |= {"data": data, "encoder": encoder}
        space["liked"] = {"films": space["LIKED"], "packages": data["packages"].ratings["rating"].min()}
        space["full"] = {k: encoder.transform(d.items["text"]).astype("float32") for k, d in data.items()}
        space["test_users"] = {kind: space["draw_users"](kind) for kind in data}
        self.__dict__.update(space)


def groups(lesson, kind, d, vectors) -> dict[str, pd.Series]:
    """NDCG of each test user among the items with few interactions, and among the warm ones, by `TokenEASE`."""
    index = lesson.full[kind].index
    model = TokenEASE(pd.DataFrame(vectors, index)).fit(d["train"])
    users = np.intersect1d(lesson.test_users[kind], d["train"]["user_id"].unique())
    where = model.item_ids.get_indexer(index)
    scores = np.array([model.score(user).to_numpy()[where] for user in users])
    seen = d["train"][d["train"]["user_id"].isin(users)]
    scores[pd.Index(users).get_indexer(seen["user_id"]), index.get_indexer(seen["item_id"])] = -np.inf
    new_or_few, found = np.concatenate([d["hidden"], d["few"]]), {}
    for group, items in {"few": d["few"], "warm": np.setdiff1d(np.arange(len(index)), new_or_few)}.items():
        hits = lesson.taken(kind, d["tests"][group], users)[:, items].toarray()
        some = hits.sum(axis=1) > 0
        found[group] = pd.Series(lesson.ndcg(scores[some][:, items], hits[some]), users[some])
    return found


def by_heads(lesson, d, vectors) -> dict[str, pd.Series]:
    """NDCG of each test user among the hidden items, by the tokens alone."""
    tokens = lesson.finish(vectors, d["known"])
    return {
        name: pd.Series(lesson.ndcg(score(tokens, d), d["hits"]), d["users"])
        for name, score in lesson.HEADS.items()
    }


def same_label(lesson, kind, places, n, rng):
    """Draw pairs of known items of the same genres or section."""
    label = lesson.data[kind].items["genres"].fillna("").to_numpy()[places]
    alike = [group.to_numpy() for _, group in pd.Series(places).groupby(label) if len(group) > 1]
    size = np.array([len(group) for group in alike], float)
    chosen = rng.choice(len(alike), n, p=size / size.sum())
    return np.array([rng.choice(alike[group], 2, replace=False) for group in chosen])


def examples(lesson, kind, d) -> dict[str, np.ndarray]:
    """Draw the pairs of each contrastive way."""
    n, rng = lesson.N_STEPS[kind] * lesson.BATCH, np.random.default_rng
    everything, both = pd.concat([d["train"], d["cold"]]), np.concatenate([d["known"], d["hidden"]])
    seed = lesson.RANDOM_STATE
    found = {
        "contrastive": lesson.liked_pairs(d["x"], d["known"], n, rng(seed)),
        "random pairs": d["known"][rng(seed).integers(len(d["known"]), size=(n, 2))],
        "genre pairs": same_label(lesson, kind, d["known"], n, rng(seed)),
    }
    for name, users in {"leak: new items": d["others"], "leak: test users": d["users"]}.items():
        found[name] = lesson.liked_pairs(lesson.taken(kind, everything, users), both, n, rng(seed))
    return found


def ways(lesson, kind, d, states, seconds):
    """Yield the name and the vectors of each way."""
    yield "frozen", lesson.full[kind].to_numpy()
    for name, shuffled in {"map": False, "map, shuffled": True}.items():
        yield name, lesson.with_map(kind, d, d["x"], d["known"], shuffled)
    for name, pairs in examples(lesson, kind, d).items():
        begun, upper = time.perf_counter(), lesson.fresh()
        lesson.contrast(
            upper, states, pairs, lesson.settings(kind, name.replace(": ", " "), lesson.N_STEPS[kind])
        ).train()
        seconds.setdefault(name, round(time.perf_counter() - begun))
        yield name, lesson.read(kind, upper, states)
    for name, mixed in {"masked words": False, "masked, mixed": True}.items():
        begun, model, n = time.perf_counter(), lesson.with_guesses(), MASKED_STEPS * lesson.BATCH // 2
        rng = np.random.default_rng(lesson.RANDOM_STATE)
        written = lesson.sentences(kind, d["x"], d["known"], n, rng, shuffled=mixed)
        faster = {"per_device_train_batch_size": lesson.BATCH // 2, "learning_rate": 1e-4}
        lesson.guess(model, written, lesson.settings(kind, name, MASKED_STEPS, **faster)).train()
        seconds.setdefault(name, round(time.perf_counter() - begun))
        upper = lesson.Upper(model.bert.encoder.layer[-lesson.N_TRAINED :])
        yield name, lesson.read(kind, upper, states)


def looks(lesson, kind, d, states) -> dict[str, dict[int, float]]:
    """NDCG of the hidden items by each head, after more and more steps of the contrastive training, in one run."""
    from transformers import TrainerCallback

    found, upper = {head: {} for head in lesson.HEADS}, lesson.fresh()

    class Look(TrainerCallback):
        def on_step_end(self, arguments, state, control, **more):
            if state.global_step in CURVE[kind]:
                for head, value in lesson.measure(lesson.read(kind, upper, states), d).items():
                    found[head][state.global_step] = round(float(value), 3)
                upper.train()

    n_steps, rng = CURVE[kind][-1], np.random.default_rng(lesson.RANDOM_STATE)
    pairs = lesson.liked_pairs(d["x"], d["known"], n_steps * lesson.BATCH, rng)
    trainer = lesson.contrast(upper, states, pairs, lesson.settings(kind, "curve", n_steps))
    trainer.add_callback(Look())
    trainer.train()
    return found


def lines(results: pd.DataFrame) -> list[str]:
    """Write the table as the notebook keeps it: the frozen model's NDCG, then differences, intervals and stars."""
    told = [";".join(["kind", "way", *GROUPS])]
    for kind, of_kind in results.groupby("kind", sort=False):
        rows = {}
        for group in GROUPS:
            own = of_kind[of_kind["group"] == group]
            table = own.pivot_table(index="user", columns="way", values="NDCG", sort=False)
            rows.setdefault("frozen", {})[group] = f"{table['frozen'].mean():.3f}"
            for way, row in compare(table.dropna(), "frozen", random_state=0).iterrows():
                ends = " ".join(f"{row[name]:+.3f}" for name in ("difference", "low", "high"))
                rows.setdefault(way, {})[group] = ends + (" *" if row["significant"] else "")
        told += [";".join([kind, way, *(row.get(g, "") for g in GROUPS)]) for way, row in rows.items()]
    return told


def keep(part: str, found: dict) -> None:
    """Write a part of the result, beside the parts that it has."""
    kept = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    RESULT.write_text(json.dumps(kept | {part: found}, indent=1) + "\n", encoding="utf-8")


def measure_all(kind: str) -> None:
    """Measure every way on every draw of a data set; write the result."""
    lesson, seconds, rows, curve = Lesson(), {}, [], {}
    begun = time.perf_counter()
    states = lesson.lower_states(kind, np.arange(len(lesson.full[kind])))
    seconds["lower layers, once"] = round(time.perf_counter() - begun)
    for seed in SEEDS[kind]:
        d = lesson.hide(kind, lesson.data[kind].ratings, lesson.test_users[kind], seed)
        for way, vectors in ways(lesson, kind, d, states, seconds):
            found = by_heads(lesson, d, vectors)
            if way in WHOLE:
                found |= groups(lesson, kind, d, vectors)
            for group, values in found.items():
                rows.append(pd.DataFrame({"NDCG": values}).assign(kind=kind, seed=seed, way=way, group=group))
            means = {group: round(float(values.mean()), 3) for group, values in found.items()}
            print(f"{time.perf_counter() - begun:5.0f} s", kind, seed, way, means, flush=True)
        if seed == 0:
            curve = looks(lesson, kind, d, states)
            print(curve, flush=True)
    seconds["all"] = round(time.perf_counter() - begun)
    table = lines(pd.concat(rows).rename_axis("user").reset_index())
    keep(kind, {"notebook": fingerprint(), "seconds": seconds, "curve": curve, "table": table})
    print("\n".join(table))


def validation(lesson, kind) -> dict:
    """Hide a fifth of the items that no test hides, for a hundred users that no test has."""
    ratings = lesson.data[kind].ratings
    for seed in SEEDS[kind]:
        _, cold = next(split(lesson.data[kind].ratings, by="item_id", random_state=seed))
        ratings = ratings[~ratings["item_id"].isin(cold["item_id"])]
    ratings = ratings[~ratings["user_id"].isin(lesson.test_users[kind])]
    users = np.random.default_rng(1).permutation(np.sort(ratings["user_id"].unique()))[:100]
    return lesson.hide(kind, ratings, np.sort(users), 0)


def choose() -> None:
    """Measure settings of the map and of the contrastive training on validation items; write them down."""
    lesson, found = Lesson(), {}
    space = lesson.space
    fixed = {name: space[name] for name in ("RANK", "STRENGTH", "N_TRAINED", "SCALE", "POWER")}

    def told(kind, way, setting, values):
        found.setdefault(kind, {}).setdefault(way, {})[setting] = values
        print(kind, way, setting, values, flush=True)
        keep("chosen by", found)

    for kind in SEEDS:
        d = validation(lesson, kind)
        told(kind, "frozen", "", lesson.measure(lesson.full[kind], d).round(3).to_dict())
        for space["RANK"], space["STRENGTH"] in product((50, 200), (0.3, 1.0, 10.0)):
            setting = f"RANK {space['RANK']}, STRENGTH {space['STRENGTH']:g}"
            values = lesson.measure(lesson.with_map(kind, d, d["x"], d["known"]), d)
            told(kind, "map", setting, values.round(3).to_dict())
        space.update(fixed)
        states = {}
        for layers, rate, scale, power in TRIED[kind]:
            if layers not in states:
                space["N_TRAINED"] = layers
                states = {layers: lesson.lower_states(kind, np.concatenate([d["known"], d["hidden"]]))}
            space.update({"N_TRAINED": layers, "SCALE": scale, "POWER": power})
            space["LEARNING_RATE"][kind] = rate
            setting = f"layers {layers}, rate {rate:g}, SCALE {scale:g}, POWER {power:g}"
            told(kind, "contrastive", setting, looks(lesson, kind, d, states[layers]))
        space.update(fixed)


if __name__ == "__main__":
    asked = sys.argv[1:] or list(SEEDS)
    for what in asked:
        choose() if what == "choose" else measure_all(what)
