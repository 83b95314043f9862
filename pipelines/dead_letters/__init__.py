"""Dead letters: what was refused, its bytes, and its way back after a fix.

`table` reads and writes rows, `raw` finds the bytes of a letter, `replay` sends letters back.
"""
