# Every target first installs what it needs into this clone (.venv, node_modules); nothing is
# installed outside it. `make help` lists the targets and their variables.

SHELL := bash
.DEFAULT_GOAL := help
.PHONY: $(shell awk -F: '/^[a-z-]+:/ { print $$1 }' Makefile)  # every target

# A value reaches its command as it was typed: $(value ...) keeps make from expanding it, the
# environment carries it past the shell's parser.
VARIABLES := PYTHON \
  STEPS \
  SEED \
  PRICES \
  REPORT \
  DECIMALS \
  START \
  END \
  ENGINE \
  LENGTH \
  PROCESSES \
  COVERAGE \
  CORPUS \
  UPDATE \
  STAGES \
  ONLY \
  PAIRS \
  DATA \
  POSITIONS \
  BLOCKS \
  CRASH \
  CLUSTER \
  ALL \
  LIMIT \
  CASE \
  BUGS \
  BUG \
  RUNS \
  ROUNDS \
  BUDGET \
  SPEED \
  TRADERS \
  PORT \
  NETWORK \
  ACCOUNT
literal = $(eval override $(1) := $$(value $(1)))
$(foreach name,$(VARIABLES),$(call literal,$(name)))
export $(VARIABLES)

# Recipes run with the tools of the clone first: ape looks for `vyper` and `anvil` on PATH.
RUN := scripts/_ci/run.sh
# One more than cores: tests of live chains wait for much of their time.
CORES := $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
WORKERS ?= $(shell expr $(CORES) + 1)
# The stories run on two chains at once, each told whole.
STORYTELLERS := $(shell expr $(CORES) / 4 \* 2)
WHOLE := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

help: ## Show this help
	@awk 'BEGIN { FS = ":[^#]*## " } \
	  /^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2; next } \
	  /^## / { printf "  %16s %s\n", "", substr($$0, 4) }' Makefile

setup: python anvil cluster browser ## Install everything (PYTHON=python3.12 picks the interpreter)

python:
	@scripts/_ci/setup.sh python

anvil:
	@scripts/_ci/setup.sh anvil

cluster: ## Install what CLUSTER= needs; without it everything else works
	@scripts/_ci/setup.sh cluster

browser: ## Install the Chromium in which the page is tested; without it everything else works
	@scripts/_ci/setup.sh browser

fuzz: python ## Drive contracts and model together and compare everything
## STEPS=100000 SEED=1 (or 1..20) DECIMALS=6|8|18 ENGINE=revm|pyevm|anvil
## PROCESSES=2 (one per core if not given) CLUSTER=address of a Dask scheduler
## LENGTH=10000 (steps between two fresh deployments)
## PRICES=file.csv[.gz] (columns ts,open,high,low,close) START= END= (times in it)
## REPORT=report.html,junit.xml,figures.json (the suffix decides; one or several)
## COVERAGE=0 (records no coverage of the contracts)
## CORPUS=folder (start from what is in it and keep what is rare there) or none
	@[ "$$ENGINE" != anvil ] || scripts/_ci/setup.sh anvil
	@[ -z "$$CLUSTER" ] || scripts/_ci/setup.sh cluster
	@$(RUN) options fuzz STEPS SEED PRICES REPORT DECIMALS START END ENGINE LENGTH PROCESSES \
	  COVERAGE CORPUS CLUSTER

corpus: python ## List a corpus and replay it on the model (CORPUS=folder UPDATE=1 shortens it)
	@$(RUN) options corpus CORPUS UPDATE

test: python anvil cluster browser ## Run every test: unit, differential, stateful, parity, sizes, integration
	@$(MAKE) --no-print-directory --jobs=2 suite compile
	@echo "stories through ape, on its own chain and on anvil at once"
	@$(MAKE) --no-print-directory --jobs=2 $(WHOLE) stories-test stories-foundry

suite: size
	@$(RUN) python -m pytest -p no:ape_test tests --ignore=tests/integration -n $(WORKERS) --dist worksteal

compile: python
	@$(RUN) ape compile >/dev/null

stories-%:
	@$(RUN) ape test tests/integration -n $(STORYTELLERS) --network ethereum:local:$*

gas: python ## Measure gas and compare with the recorded snapshot (UPDATE=1 records)
	@$(RUN) options gas UPDATE

bench: python ## Steps per second: raw EVM replay, model, encoding, full loop, two processes
## STEPS= SEED= STAGES=1 (only where the time of the loop goes)
	@$(RUN) options bench STEPS SEED STAGES

example: python ## Fuzz a second protocol, a vault with a fee (STEPS= SEED= ENGINE= PROCESSES= LENGTH=)
	@[ "$$ENGINE" != anvil ] || scripts/_ci/setup.sh anvil
	@$(RUN) options examples.fee_vault:fuzz STEPS SEED ENGINE PROCESSES LENGTH REPORT

coverage: python ## Show what of contracts and model a campaign runs (STEPS= SEED= PROCESSES=)
	@$(RUN) options coverage STEPS SEED PROCESSES

planted: python ## Plant each known bug and show that the fuzzer catches it (ONLY=name STEPS= SEED=)
	@$(RUN) options planted ONLY STEPS SEED PROCESSES REPORT

mutants: python ## Change contracts and model in small ways and show that a campaign notices
## ONLY=id,file,operator ALL=1 (every mutant, not a sample) SEED=1 LIMIT=60 (seconds each) PROCESSES= REPORT=file
	@$(RUN) options mutants ONLY ALL SEED LIMIT PROCESSES REPORT

shrinks: python ## Plant bugs, find them, and measure how short and how fast failures get (BUGS= SEED= PROCESSES=)
	@$(RUN) options shrinks BUGS SEED PROCESSES

replay: python ## The same steps on revm, py-evm and anvil: do they agree?
## CASE=file (a case or a regression test; without it STEPS=5000 SEED=1 LENGTH=1000) ENGINE=only this
	@case "$$ENGINE" in ''|anvil) scripts/_ci/setup.sh anvil;; esac
	@$(RUN) options replay CASE STEPS SEED LENGTH ENGINE

solvency: python ## Compare solvency() with the sum over positions at every step (STEPS= SEED=)
	@$(RUN) options solvency STEPS SEED

backlog: python anvil ## A keeper works off a backlog on anvil: calls, blocks, gas (POSITIONS=500)
	@$(RUN) options operations.backlog:run POSITIONS

lies: python anvil ## Plant bugs in markets on anvil: the monitor names block and invariant
## ONLY=ids with commas, or all STEPS=2000 SEED=1
	@$(RUN) options operations.monitor:lies ONLY STEPS SEED

load: python anvil ## How fast the monitor is, with many positions and a price every block
## POSITIONS=10000 BLOCKS=100
	@$(RUN) options operations.monitor:load POSITIONS BLOCKS

isolation: python ## Show that a trader's ruin is nothing to the others (PAIRS= SEED=)
	@$(RUN) options isolation PAIRS SEED

crashes: python ## Replay crashes on the model with a crowd of traders
## DATA=directory of the price files (without it a synthetic crash)
## SEED=1 POSITIONS=4000 ONLY=name PRICES=file START= CRASH= END= (another window of either)
## UPDATE=1 (records docs/crashes.md)
	@$(RUN) options crashes DATA SEED POSITIONS ONLY PRICES START CRASH END UPDATE

deploy: python ## Deploy what networks/<network>.toml says; `ape run deploy --help` tells more
## NETWORK=ethereum:sepolia:node ACCOUNT=alias (of `ape accounts`)
	@$(RUN) ape run deploy $${NETWORK:+--network "$$NETWORK"} $${ACCOUNT:+--account "$$ACCOUNT"}

demo: python anvil ## A market lives through a crash on a chain of its own; watch its page, Ctrl-C ends it
## DATA=directory of the price files (12 March 2020; without it a synthetic crash)
## PRICES=file START= END= (another window or file) SPEED=30 (times as fast as it was)
## TRADERS=120 SEED=1 PORT=8787 (of the page)
	@$(RUN) options operations.demo:demo DATA PRICES START END SPEED TRADERS SEED PORT

rivals: python ## Ringfence beside Wake 5, Foundry, Hypothesis and titanoboa: rates and planted bugs
## ROUNDS=5 ONLY=wake,foundry,hypothesis,boa BUDGET=5 (seconds for each bug; 0 leaves them out)
## REPORT=file.json UPDATE=1 (records docs/rivals.md)
	@$(RUN) options rivals:run ROUNDS ONLY BUDGET REPORT UPDATE

vault-suite: python anvil ## The ERC-4626 pool under a published property suite, on deployed bytecode
## RUNS=500 (random inputs for each property) SEED=1 BUG=id (a pool with this planted bug)
	@$(RUN) options suites:vault RUNS SEED BUG

size: python ## Runtime size of every contract
	@$(RUN) python scripts/_ci/check_sizes.py

lint: python ## Formatting, style, types, spelling, house rules
	@$(RUN) ruff format --check --quiet .
	@$(RUN) ruff check --quiet .
	@$(RUN) mypy
	@$(RUN) codespell
	@$(RUN) python scripts/_ci/check_style.py

format: python ## Format the Python files
	@$(RUN) ruff format .
	@$(RUN) ruff check --fix .

lock: ## Pin the requirements anew (needs uv)
	@for name in requirements-build requirements; do \
	  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --allow-unsafe \
	    --no-emit-index-url --custom-compile-command "make lock" "$$name.in" -o "$$name.txt"; \
	done
	@for name in cluster browser; do \
	  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --custom-compile-command "make lock" -c requirements.txt \
	    "requirements-$$name.in" -o "requirements-$$name.txt"; \
	done

clean: ## Remove everything make installed or built
	@rm -rf .venv .rivals .suites node_modules .setup.lock .ape .build .cache .mutants .hypothesis \
	  .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
