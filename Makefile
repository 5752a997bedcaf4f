# make            this list
# PG_CONFIG=…     the Postgres that `make install` installs into (default: pg_config of PATH)
# PREFIX=…        where its completions and man pages go, under share/ (default: /usr/local)
PG_CONFIG ?= pg_config
PREFIX ?= /usr/local
export PREFIX

.DEFAULT_GOAL := help
.PHONY: help setup demo test install lint bench

help: ## What there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' Makefile

setup: ## Bring what building and testing need (Debian packages, cargo-pgrx, Postgres 16 and 18 under target/)
	tests/setup.sh

demo: setup ## See alerts go out, in a scratch cluster that goes away again
	tests/demo/run.sh

test: setup ## Run every test, on Postgres 15, 16 and 18
	tests/run.sh

install: ## Install the extension into the Postgres of PG_CONFIG, completions and man pages under PREFIX
	tests/setup.sh build
	tests/install.sh "$(PG_CONFIG)"

lint: setup ## rustfmt, clippy, and plpgsql_check over every function of the extension
	tests/lint.sh

bench: setup ## Measure, as ratios to a plain INSERT
	tests/bench/run.sh
