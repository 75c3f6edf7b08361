"""processed: parse the table, hold every row to the contract, write typed Parquet."""

from __future__ import annotations

import json

from cairn.compute.engine import Engine, open_engine
from cairn.console import run, say
from cairn.contract import Contract
from cairn.params.base import read_params
from cairn.params.compute import Compute
from cairn.params.processed import Processed
from cairn.paths import CONTRACT, PROCESSED, RAW, REPORT
from cairn.tables import contract_file, first_run, infer
from cairn.tables.reader import Table, open_table
from cairn.tables.roles import Roles, check_roles, read_roles
from cairn.tables.rows import list_remarks, write_rows
from cairn.tables.tally import Tally


def main() -> None:
    """Turn data/raw into data/processed."""
    params, compute = read_params(Processed, Compute)
    table = open_table(RAW, params)
    for note in table.first.notes:
        say(f"processed: {note}")
    roles = read_roles(table.first, params, has_contract=CONTRACT.exists())
    PROCESSED.parent.mkdir(parents=True, exist_ok=True)
    with open_engine(compute) as engine:
        if CONTRACT.exists():
            contract = contract_file.read(CONTRACT)
            check_roles(contract, roles, params)
            tally = write_rows(table, contract, PROCESSED, engine)
        else:
            contract, tally = infer_contract(table, roles, engine)
    for remark in list_remarks(tally, contract, params):
        say(f"processed: {remark}")
    REPORT.write_text(json.dumps(tally.report(), indent=2) + "\n", encoding="utf-8")
    kept = tally.rows - tally.set_aside
    say(f"processed: {kept:,} rows in {PROCESSED}, {tally.set_aside:,} set aside")


def infer_contract(table: Table, roles: Roles, engine: Engine) -> tuple[Contract, Tally]:
    """Infer the contract, write it and the rows that keep it, and print what was decided."""
    say(f"processed: no {CONTRACT} yet; inferring one from {RAW}")
    result = first_run.infer_and_write(table, roles, PROCESSED, engine)
    contract = result.proposal.contract
    say(f"\n{infer.format_decisions(result.proposal, result.survey)}\n")
    say(f"target {contract.target.name}: {', '.join(map(str, contract.target.classes))}\n")
    contract_file.write(contract, CONTRACT)  # now that the rows keep it
    for warning in first_run.list_warnings(result):
        say(f"processed: {warning}")
    say(f"processed: wrote {CONTRACT}; read it, edit it, commit it")
    return contract, result.tally


if __name__ == "__main__":
    run(main)
