# Every target is `python -m llmtok ...` underneath, so that it works without make too (see README).
PYTHON ?= python3.11
BIN := .venv/bin
SPARK := $(shell java -version >/dev/null 2>&1 && echo .venv/spark)

.PHONY: run test test-slow browser-test lab notebooks bench site spark dist audit lint lock setup clean
run: setup            ## the course and the report on the bundled data, into reports/movielens-small/
	$(BIN)/python -m llmtok report --course

test: setup $(SPARK)  ## every test; those of Spark where there is Java, for which pyspark is installed
	$(BIN)/python -m llmtok test

test-slow: setup      ## the tests of the modules, with many more drawn files and kills: hours
	$(BIN)/python -m llmtok test --slow

browser-test: site $(SPARK)  ## every notebook run in JupyterLab in a real browser, its controls moved, and the site; needs Chromium or Chrome
	$(BIN)/python -m llmtok test --browser

lab: setup            ## JupyterLab on the first notebook
	$(BIN)/python -m llmtok lab

notebooks: setup $(SPARK)  ## rerun the notebooks in place
	$(BIN)/python -m llmtok notebooks

bench: setup          ## accuracy, speed and memory, beside the rivals
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock -e '.[bench]'
	$(BIN)/python -m llmtok bench

site: setup           ## the site, into build/site/html; makes the example reports that are not there yet
	$(BIN)/python -m llmtok site

spark: .venv/spark    ## notebook 14, and the tests of what it uses, with executors that are killed; needs Java 17
	$(BIN)/python -m llmtok notebooks 14_scale_out_with_spark
	$(BIN)/python -m llmtok test --slow tests/test_spark.py

dist: setup           ## wheel and sdist, into dist/, checked as a registry would
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock twine
	$(BIN)/python -m twine check --strict dist/*

audit: setup          ## known holes in what the lock pins, and its licences, against the list in pyproject.toml; needs the network
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock pip-audit pip-licenses
	$(BIN)/pip-audit --strict --no-deps --disable-pip --requirement requirements.lock
	$(BIN)/pip-licenses

lint: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

setup: .venv/ready

# The stamp is written last, so a set-up that was interrupted is done again.
.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

# Not in the lock: 430 MB that few need.
.venv/spark: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock -e '.[spark]'
	touch $@

lock: setup           ## after a change of dependencies in pyproject.toml
	$(BIN)/python -m piptools compile --quiet --extra dev --strip-extras --no-emit-index-url --no-emit-find-links \
		--no-header --no-annotate --constraint constraints.txt --output-file requirements.lock pyproject.toml
	sed -i 's/^torch==\([0-9.]*\)+cpu$$/torch==\1/' requirements.lock

clean:
	rm -rf .venv reports build dist *.egg-info
