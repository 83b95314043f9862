"""An attacker that is shown the reasons of each alert on its accounts, and changes its behaviour.

`method` holds what it can change, `policy` what it does about what it sees, `crew` its accounts and
their requests, `seen` what it is shown, `costs` what it pays, `rounds` plays the game against the
product, and `report` writes what came out.
"""
