"""Error, speed and memory, ours beside the rivals': `make bench`. Writes benchmarks/results.json and RESULTS.md.

`python benchmarks/bench.py encoding` measures one section again and keeps the others; there are encoding, fitting,
notebooks, binder, accuracy, growth, ranking and cold. `python benchmarks/bench.py accuracy TokenSVD SVD++` (or after
ranking, or cold) measures the models with these words in their names again, and takes the others from the last run.
myFM takes part where the extra is installed (`python -m pip install -e '.[bench]'`). All of it takes about three hours.

In the ratios rivals run in turn with ours (A B A B ...) and the median is quoted, so that a machine whose speed drifts
does not decide. Limits live here and in no test: a test that fails because a machine was busy teaches nobody anything.
"""

import contextlib
import json
import os
import platform
import queue
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import accuracy as on_accuracy
import growth as on_growth
import joblib
import nbformat
import ranking as on_ranking
import requests
import surprise
from jupyter_client import BlockingKernelClient
from safetensors import safe_open
from traitlets.config import Config

from llmtok import InputError, TextEncoder, TokenSVD, load_dataset
from llmtok.encode import checkpoint
from llmtok.evaluation import split
from llmtok.notebooks import ON_SPARK
from llmtok.recommend import to_trainset

HERE = Path(__file__).parent
BINDER = HERE.parent / "binder"
SPIN = "while True: sum(range(100_000))"
PACKAGES = ["torch", "transformers", "sentence-transformers", "scikit-surprise", "numpy", "numba"]
ROWS: list[tuple[str, str, str]] = []  # of the section that is being measured


def row(what: str, measured: str, goal: str) -> None:
    """Keep one line of the table, and show it."""
    ROWS.append((what, measured, goal))
    print(f"{what:<75} {measured:>16}   goal: {goal}", flush=True)


def seconds(call: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def ratio(ours: Callable[[], object], rival: Callable[[], object], pairs: int = 3) -> float:
    """Median over pairs of how many times longer the rival takes."""
    return statistics.median(seconds(rival) / seconds(ours) for _ in range(pairs))


def encoding(data) -> None:
    """Measure ours against sentence-transformers, idle and beside a process that keeps one core busy.

    Both start from the checkpoint on disk and end with the vectors.
    """
    import torch  # here, since each process that measures a model imports this file
    from sentence_transformers import SentenceTransformer

    texts = data.items["text"].sample(2000, random_state=0)

    def ours_with(n):
        encoder = TextEncoder(n_threads=n, cache_dir=False, progress=False)
        return lambda: encoder.fit_transform(texts)

    def rival_with(n):
        def encode():
            torch.set_num_threads(n)
            rival = SentenceTransformer(str(checkpoint()[0]), device="cpu")
            rival.encode(texts.tolist(), batch_size=32, show_progress_bar=False, normalize_embeddings=False)

        return encode

    ours_with(1)()
    for n in sorted({1, joblib.cpu_count()}):
        measured = ratio(ours_with(n), rival_with(n))
        row(f"encoding, sentence-transformers' time / ours, {n} thread(s)", f"{measured:.2f}", "at least 1.4")
    n = joblib.cpu_count()
    alone = statistics.median(seconds(ours_with(n)) for _ in range(3))
    spinner = subprocess.Popen([sys.executable, "-c", SPIN])
    try:
        busy = statistics.median(seconds(ours_with(n)) for _ in range(3))
        against = ratio(ours_with(n), rival_with(n))
    finally:
        spinner.kill()
    row(
        f"encoding, {n} threads beside a busy core: time / time alone",
        f"{busy / alone:.2f}",
        f"less than {n}",
    )
    row("encoding beside a busy core, sentence-transformers' time / ours", f"{against:.2f}", "at least 1.4")
    with tempfile.TemporaryDirectory() as folder:
        cached = TextEncoder(cache_dir=folder, progress=False)
        cold = seconds(lambda: cached.fit_transform(texts))
        warm = statistics.median(seconds(lambda: cached.fit_transform(texts)) for _ in range(5))
    row("encoding, first time / from the cache", f"{cold / warm:.0f}", "at least 100")


def fitting(data) -> None:
    """Measure `TokenSVD.fit` against Surprise's SVD at its tuned setting, on the course's first fold."""
    embeddings = TextEncoder(progress=False).fit_transform(data.items["text"])
    setting = json.loads((HERE / "tuned.json").read_text())["SVD"]["setting"]
    trainset = to_trainset(next(split(data.ratings))[0])
    TokenSVD(embeddings, n_epochs=1).fit(trainset)  # compiled now
    measured = ratio(
        lambda: TokenSVD(embeddings).fit(trainset),
        lambda: surprise.SVD(**setting).fit(trainset),
        pairs=5,
    )
    row("fit, tuned Surprise SVD's time / TokenSVD's", f"{measured:.2f}", "at least 1")


def notebooks(data) -> None:
    """Measure the time of the main job, cold and warm."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "LLMTOK_CACHE": folder}
        run = [sys.executable, "-m", "llmtok", "report", "--course", "--out", f"{folder}/reports/course"]
        for name, goal in (("cold", "less than 6"), ("warm", "less than 3")):
            minutes = (
                seconds(lambda: subprocess.run(run, check=True, env=environment, stdout=subprocess.DEVNULL))
                / 60
            )
            row(f"the main job, {name} cache, minutes", f"{minutes:.1f}", goal)


def binder(data) -> None:
    """Measure JupyterLab as on Binder: by binder/start, on one core, with what binder/bake.py leaves in the cache.

    The notebooks are run one after the other, and none is closed.
    """
    config = runpy.run_path(str(BINDER / "jupyter_server_config.py"), {"get_config": Config})
    on_one_core = ["taskset", "--cpu-list", "0", BINDER / "start", sys.executable, "-m", "jupyterlab"]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "LLMTOK_CACHE": folder, "JUPYTER_RUNTIME_DIR": folder}
        subprocess.run([sys.executable, BINDER / "bake.py"], check=True, env=environment)
        baked = texts_in(folder)
        began = time.perf_counter()
        command = [*on_one_core, "--no-browser", "--allow-root"]
        server = subprocess.Popen(command, cwd=HERE.parent, env=environment, stderr=subprocess.DEVNULL)
        try:
            for path in sorted(HERE.parent.glob("notebooks/*.ipynb")):
                if path.stem == ON_SPARK:  # there is no Java on Binder
                    continue
                with new_kernel(Path(folder), server.pid) as kernel:
                    ready = time.perf_counter()
                    together = run_cells(kernel, path, lambda: config["memory"](server.pid)) / 2**30
                    took, alone = time.perf_counter() - ready, peak_of(kernel)
                if path.stem.startswith("00"):
                    row("from the start to the first kernel, seconds", f"{ready - began:.0f}", "less than 60")
                    row(f"{path.stem}, all cells, seconds", f"{took:.0f}", "less than 60")
                row(f"{path.stem}, peak memory of its kernel, GB", f"{alone:.2f}", "less than 1.2")
                row(f"{path.stem}, of server and all kernels, GB", f"{together:.2f}", "less than 2")
        finally:
            server.terminate()
            server.wait()
        missing = texts_in(folder) - baked
        row("texts that notebooks encode and bake.py does not", f"{missing}", "less than 100")


def texts_in(folder: str) -> int:
    """Count the embeddings in a cache folder."""
    found = 0
    for path in Path(folder).rglob("*.safetensors"):
        with safe_open(path, framework="numpy") as shard:
            found += shard.get_slice("keys").get_shape()[0]
    return found


@contextlib.contextmanager
def new_kernel(folder: Path, pid: int) -> Iterator[BlockingKernelClient]:
    """Have a server start a kernel, as for a notebook that is opened, and wait until it answers; it stays."""
    said = folder / f"jpserver-{pid}.json"
    for left in reversed(range(600)):
        try:
            server = json.loads(said.read_text(encoding="utf-8"))
            headers = {"Authorization": f"token {server['token']}"}
            place = {"path": "notebooks/any.ipynb"}
            asked = requests.post(f"{server['url']}api/kernels", json=place, headers=headers, timeout=60)
            break
        except (OSError, ValueError):  # it does not listen yet
            if not left:
                raise
            time.sleep(0.1)
    kernel = BlockingKernelClient(connection_file=str(folder / f"kernel-{asked.json()['id']}.json"))
    kernel.load_connection_file()
    kernel.start_channels(hb=False)  # on a busy machine a kernel that begins may miss a heartbeat
    try:
        kernel.execute("")
        kernel.get_shell_msg(timeout=60)
        yield kernel
    finally:
        kernel.stop_channels()


def run_cells(kernel: BlockingKernelClient, path: Path, memory: Callable[[], int]) -> int:
    """Run a notebook's cells, and return the most memory that was in use meanwhile."""
    peak = 0
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type != "code":
            continue
        kernel.execute(cell.source, allow_stdin=False)
        reply = None
        while reply is None:
            peak = max(peak, memory())
            with contextlib.suppress(queue.Empty):
                reply = kernel.get_shell_msg(timeout=0.2)["content"]
        if reply["status"] == "error" and "raises-exception" not in cell.metadata.get("tags", []):
            raise RuntimeError(f"{path.name}: {reply['ename']}: {reply['evalue']}")
    return peak


def peak_of(kernel: BlockingKernelClient) -> float:
    """Ask a kernel for the most memory that it, or a process that it started, ever had, in GB."""
    most = "max(__import__('resource').getrusage(who).ru_maxrss for who in (0, -1))"
    kernel.execute("", user_expressions={"most": most})
    told = kernel.get_shell_msg(timeout=60)["content"]["user_expressions"]["most"]
    return int(told["data"]["text/plain"]) / 2**20


def main(words: list[str]) -> None:
    """Measure the named sections, or all, and write the tables."""
    rows_of = {f.__name__: f for f in (encoding, fitting, notebooks, binder)}
    sections = [*rows_of, "accuracy", "growth", "ranking", "cold"]
    names = [word for word in words if word in sections]
    only = [word for word in words if word not in sections]
    if only and names not in (["accuracy"], ["ranking"], ["cold"]):
        raise InputError(
            f"no section is called {only[0]!r}; there are {', '.join(sections)}, and after accuracy, ranking or cold "
            "models"
        )
    path = HERE / "results.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    data = load_dataset("movielens-small")
    for name in names or sections:
        ROWS.clear()
        packages = PACKAGES
        if name == "accuracy":
            found, packages = on_accuracy.accuracy(only), on_accuracy.PACKAGES
            on_accuracy.chart(found, HERE / found["picture"][0])
        elif name == "growth":
            found, packages = on_growth.growth(), on_growth.PACKAGES
        elif name in ("ranking", "cold"):
            found, packages = getattr(on_ranking, name)(only), on_ranking.PACKAGES
        else:
            rows_of[name](data)
            found = {"rows": list(ROWS)}
            packages = ["jupyterlab", "jupyter_server", *PACKAGES] if name == "binder" else PACKAGES
        results[name] = {
            "python": platform.python_version(),
            "cores": joblib.cpu_count(),
            "versions": installed(packages),
            **found,
        }
        path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        (HERE / "RESULTS.md").write_text(render(results), encoding="utf-8")
        print(about(results[name]), flush=True)


def installed(packages: list[str]) -> dict[str, str]:
    """Return the versions of those packages that are there."""
    found = {}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def render(results: dict) -> str:
    """Write results.json as RESULTS.md: a section each, in its order, with its tables, versions and seeds."""
    lines = [
        "# Error, speed and memory",
        "",
        "Written by `make bench`; every ratio comes from one run, rivals in turn with ours.",
    ]
    for name, section in results.items():
        lines += ["", f"## {name.capitalize()}"]
        if "note" in section:
            lines += ["", section["note"]]
        if "picture" in section:
            file, alt = section["picture"]
            lines += ["", f"![{alt}]({file})"]
        columns = [["what", "s"], ["measured", ">"], ["goal", "s"]]
        for table in section.get("tables", [{"columns": columns, "rows": section.get("rows")}]):
            if "title" in table:
                lines += ["", f"### {table['title']}"]
            heads, formats = zip(*table["columns"], strict=True)
            lines += ["", f"| {' | '.join(heads)} |"]
            lines += ["|" + "|".join("---" if kind == "s" else "--:" for kind in formats) + "|"]
            for values in table["rows"]:
                cells = (cell(value, kind) for value, kind in zip(values, formats, strict=True))
                lines += [f"| {' | '.join(cells)} |"]
        lines += ["", about(section)]
    return "\n".join(lines) + "\n"


def cell(value, kind: str) -> str:
    """Write one number or text; what was not measured is a dash."""
    return "–" if value is None else format(value, kind)


def about(section: dict) -> str:
    """Say with what a section was measured."""
    packages = ", ".join(f"{package} {number}" for package, number in section["versions"].items())
    seeds = f" Seeds: {section['seeds']}." if "seeds" in section else ""
    return f"Python {section['python']}, {section['cores']} cores, {packages}.{seeds}"


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.exit(f"bench.py: {error}")
