"""Make data/debian-packages/ from the package lists of Debian 12 "bookworm".

Run `python data/make_debian_packages.py` on any Debian machine with apt, after `apt-get update`; it needs
Python 3.11 and nothing else. It asks the mirror that apt uses there for the lists of bookworm, main, amd64, and
has apt check their signature. They go to a folder that is deleted at the end: no root is needed, and nothing
in the system changes. The same lists give the same bytes; `origin.txt` names them. Later point releases of
Debian bring other lists: for the old ones, give `--mirror` an archive of that day.
"""

import argparse
import csv
import hashlib
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

SUITE = "bookworm"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
FIELDS = {"Pre-Depends": 3, "Depends": 3, "Recommends": 2, "Suggests": 1}
ACTIONS = {3: "depends", 2: "recommends", 1: "suggests"}
LEAST = 5  # packages a source has, and sources a package has

# Everything apt writes goes to our folder; no other languages, and no hooks of the machine after the update.
APT_CONF = """\
Dir::State::lists "{folder}/lists";
Dir::Cache "{folder}/cache";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
#clear Acquire::Languages;
Acquire::Languages "en";
#clear APT::Architectures;
APT::Architecture "amd64";
APT::Architectures "amd64";
#clear APT::Update;
APT::Update::Error-Mode "any";
"""


def read_stanzas(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Read a list of Debian's: one dict a package; a value of several lines keeps its line breaks."""
    stanza, name = {}, ""
    for line in lines:
        line = line.rstrip("\n")
        if line[:1] in (" ", "\t"):
            stanza[name] += "\n" + line[1:]
        elif line:
            name, _, value = line.partition(":")
            stanza[name] = value.strip()
        elif stanza:
            yield stanza
            stanza = {}
    if stanza:
        yield stanza


def source_of(package: dict[str, str]) -> str:
    """Name the source package that a package is built from (`Source` is left out where it is the same)."""
    return package.get("Source", package["Package"]).split()[0]


def relations(package: dict[str, str]) -> Iterator[tuple[list[str], int]]:
    """Give each relation of a package: the names of its alternatives, in order, and its strength.

    `a:any (>= 2) | b` is `["a", "b"]`: versions and architectures are left out.
    """
    for field, strength in FIELDS.items():
        for relation in package.get(field, "").split(","):
            if names := names_in(relation):
                yield names, strength


def names_in(relations: str) -> list[str]:
    """Give the names in a list of packages, or of alternatives, without versions and architectures."""
    return re.findall(r"(?:^|[|,])\s*([a-z0-9][a-z0-9+.-]*)", relations)


def collect(packages: list[dict[str, str]]) -> tuple[dict[tuple[str, str], int], dict[str, int]]:
    """Give (source, package) -> the strongest relation, and how many relations went where.

    Of alternatives the first that is a real package counts: it is the maintainer's choice, and what apt installs.
    All of them would be pairs that always come together, which a recommender could guess without merit. A virtual
    package that a single real one provides, as most of Haskell's are, means that one.
    """
    sources = {package["Package"]: source_of(package) for package in packages}
    providers = defaultdict(set)
    for package in packages:
        for name in names_in(package.get("Provides", "")):
            providers[name].add(package["Package"])
    real = {name: next(iter(those)) for name, those in providers.items() if len(those) == 1}
    real |= {name: name for name in sources}
    pairs = {}
    counts = dict.fromkeys(
        ("relations", "- with no real package", "- with an own package", "- said before"), 0
    )
    for package in packages:
        source = source_of(package)
        for names, strength in relations(package):
            counts["relations"] += 1
            name = next((real[name] for name in names if name in real), None)
            if name is None:
                counts["- with no real package"] += 1
            elif sources[name] == source:
                counts["- with an own package"] += 1
            else:
                counts["- said before"] += (source, name) in pairs
                pairs[source, name] = max(strength, pairs.get((source, name), 0))
    return pairs, counts


def core(pairs: dict[tuple[str, str], int], least: int = LEAST) -> dict[tuple[str, str], int]:
    """Keep what has `least` or more on both sides, again and again until nothing more falls out."""
    while True:
        sources, items = (Counter(side) for side in zip(*pairs, strict=True)) if pairs else ({}, {})
        kept = {(s, i): v for (s, i), v in pairs.items() if sources[s] >= least and items[i] >= least}
        if len(kept) == len(pairs):
            return kept
        pairs = kept


def one_line(text: str) -> str:
    """Join the lines of a long description; a dot alone on a line is Debian's empty line."""
    return " ".join(" ".join(line for line in text.splitlines() if line.strip() != ".").split())


def make(packages: Iterable[str], descriptions: Iterable[str], about: dict[str, str], out: Path) -> None:
    """Write `interactions.csv`, `items.csv` and `origin.txt` into the folder `out`.

    `packages` and `descriptions` are the lines of the lists `Packages` and `Translation-en`.
    """
    packages = list(read_stanzas(packages))
    texts = {
        (text["Package"], text["Description-md5"]): text["Description-en"]
        for text in read_stanzas(descriptions)
    }
    pairs, counts = collect(packages)
    kept = core(pairs)
    by_name = {package["Package"]: package for package in packages}
    items = []
    for name in sorted({item for _, item in kept}):
        package = by_name[name]
        text = texts.get((name, package.get("Description-md5")), package["Description"])
        summary, _, description = text.partition("\n")
        tags = "|".join(re.split(r",\s*", package.get("Tag", "")))
        section, source = package["Section"], source_of(package)
        items.append([name, name, section, tags, source, one_line(summary), one_line(description)])
    rows = [[source, item, ACTIONS[strength]] for (source, item), strength in sorted(kept.items())]
    about = about | {
        "packages": len(packages),
        "source packages": len({source_of(package) for package in packages}),
        **counts,
        "pairs of source package and package": len(pairs),
        f"- with fewer than {LEAST} on a side": len(pairs) - len(kept),
        "pairs kept": len(kept),
        "source packages kept": len({source for source, _ in kept}),
        "packages kept": len(items),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_csv(out / "interactions.csv", ["user_id", "item_id", "action"], rows)
    columns = ["item_id", "title", "section", "tags", "source", "summary", "description"]
    write_csv(out / "items.csv", columns, items)
    (out / "origin.txt").write_bytes("".join(f"{k}: {v}\n" for k, v in about.items()).encode())


def write_csv(path: Path, header: list[str], rows: list[list[str]]) -> None:
    """Write a CSV file, the same bytes on every system."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def fetch(folder: Path, mirror: str | None) -> tuple[list[str], list[str], dict[str, str]]:
    """Have apt fetch the lists into `folder`; give the lines of both, and which lists they are."""
    if mirror is None:
        wanted = ["Created-By: Packages", "Origin: Debian", "Label: Debian", "Component: main"]
        found = run("apt-get", "indextargets", "--format", "$(REPO_URI)", *wanted).split()
        if not found:
            sys.exit("apt knows no Debian mirror here: run `apt-get update` first, or give --mirror")
        mirror = found[0]
    for name in ("lists/partial", "cache"):
        (folder / name).mkdir(parents=True)
    (folder / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror} {SUITE} main\n")
    (folder / "apt.conf").write_text(APT_CONF.format(folder=folder))
    apt = ["apt-get", "--config-file", str(folder / "apt.conf")]
    run(*apt, "update")
    about, lines = {}, []
    for kind in ("Packages", "Translations"):
        [path] = run(*apt, "indextargets", "--format", "$(FILENAME)", f"Created-By: {kind}").split()
        text = run("/usr/lib/apt/apt-helper", "cat-file", path)
        lines.append(text.split("\n"))
        about[f"SHA-256 of {kind}"] = hashlib.sha256(text.encode()).hexdigest()
    [path] = (folder / "lists").glob("*Release")
    release = next(read_stanzas(path.read_text(encoding="utf-8").partition("\n\n")[2].split("\n")))
    name = f"{release['Origin']} {release['Version']} ({release['Codename']}), main, amd64"
    return *lines, {"lists": name, "date of the Release file": release["Date"], **about}


def run(*command: str) -> str:
    """Run a command and give what it says; where it fails, end with what it complained of."""
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8")
    except FileNotFoundError:
        sys.exit(f"{command[0]}: not found; run this on a Debian machine")
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if not line.startswith("W:")]
        sys.exit("\n".join([f"{' '.join(command)}:", *errors]))
    return done.stdout


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "debian-packages")
    parser.add_argument("--mirror", help="the address of a Debian archive; by default the one that apt uses")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        packages, descriptions, about = fetch(Path(temporary), arguments.mirror)
    make(packages, descriptions, about, arguments.out)
    print((arguments.out / "origin.txt").read_text(encoding="utf-8"), end="")
