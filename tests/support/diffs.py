"""A change as a page shows it: lines that begin with a space, a minus or a plus."""


def applied(change: str) -> tuple[str, str]:
    """The text before and after a change."""
    before, after = [], []
    for line in change.splitlines(keepends=True):
        sign, rest = line[:1], line[1:] or "\n"
        if sign != "+":
            before.append(rest)
        if sign != "-":
            after.append(rest)
    return "".join(before), "".join(after)
