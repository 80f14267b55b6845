"""What this program says of an error that it did not expect: its type and the way it took, and no values.

An error's text may hold what an object held, a secret among it; a log may not.
"""


def described(error: BaseException) -> str:
    """`TYPE < PLACE < PLACE …`, the place where it was raised first."""
    places = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/hauberk/')[2]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return " < ".join([type(error).__name__, *places[::-1]])
